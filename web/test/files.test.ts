import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, FILE_BYTES_MAX, FileError, readText } from "../src/lib/files";
import { ageGroup, bytes, duration, money } from "../src/lib/format";
import { messageOf } from "../src/lib/api";

const problem = async (file: File) => {
  try {
    await readText(file);
    return null;
  } catch (error) {
    return (error as FileError).problem;
  }
};

test("text in the encodings people have", async () => {
  assert.equal(await readText(new File(["a\r\nb"], "a.txt")), "a\nb");
  assert.equal(decode(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61)), "a");
  assert.equal(decode(Uint8Array.of(0xff, 0xfe, 0x2d, 0x4e)), "中");
  assert.equal(decode(Uint8Array.of(0xfe, 0xff, 0x4e, 0x2d)), "中");
  assert.equal(decode(Uint8Array.of(0xd6, 0xd0, 0xce, 0xc4)), "中文");
});

test("what is no text is refused with the reason", async () => {
  const png = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d);
  assert.equal(await problem(new File([png], "a.png")), "binary");
  const pdf = new Uint8Array([...new TextEncoder().encode("%PDF-1.7\n"), 0xe2, 0xe3, 0xcf, 0xd3, 0, 1, 2]);
  assert.equal(await problem(new File([pdf], "a.pdf")), "binary");
  assert.equal(await problem(new File([" \n"], "a.txt")), "empty");
  assert.equal(await problem(new File([new Uint8Array(FILE_BYTES_MAX + 1)], "a.txt")), "large");
});

test("figures", () => {
  assert.equal(bytes(126_771, "en"), "123.8 KiB");
  assert.equal(duration(1234, "en"), "1.2 sec");
  assert.equal(duration(75_000, "en"), "1 min 15 sec");
  assert.equal(money({ amount: 0.000412, currency: "USD" }, "en-US"), "$0.00041");
  assert.equal(money({ amount: 12.5, currency: "USD" }, "en-US"), "$12.50");
  assert.equal(money({ amount: 1, currency: "??" }, "en-US"), "1.0 ??");
});

test("headings of the list", () => {
  const now = new Date(2026, 10, 22, 0, 30).getTime();
  assert.equal(ageGroup(now - 60_000 * 29, now), "today");
  assert.equal(ageGroup(now - 60_000 * 31, now), "yesterday");
  assert.equal(ageGroup(now - 86_400_000 * 6, now), "week");
  assert.equal(ageGroup(now - 86_400_000 * 20, now), "month");
  assert.equal(ageGroup(now - 86_400_000 * 40, now), "older");
});

test("what errors say", () => {
  assert.equal(messageOf('{"error":{"message":"Insufficient Balance"}}'), "Insufficient Balance");
  assert.equal(messageOf("Authentication Fails (governor)"), "Authentication Fails (governor)");
  assert.equal(messageOf("<html>a proxy's page</html>"), "");
});
