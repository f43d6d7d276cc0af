// Files to text, or a reason why not.

/** Largest file in bytes. About two million tokens: twice what any model here reads. */
export const FILE_BYTES_MAX = 8 << 20;

export type FileProblem = "large" | "binary" | "empty" | "unreadable";

export class FileError extends Error {
  constructor(
    readonly problem: FileProblem,
    readonly fileName: string,
  ) {
    super(`${fileName}: ${problem}`);
  }
}

/** Reads a file as text in the encoding that it is in. */
export async function readText(file: File): Promise<string> {
  if (file.size > FILE_BYTES_MAX) throw new FileError("large", file.name);
  let bytes: Uint8Array;
  try {
    bytes = new Uint8Array(await file.arrayBuffer());
  } catch {
    // A folder, or a file that is gone or forbidden.
    throw new FileError("unreadable", file.name);
  }
  const text = decode(bytes);
  if (text === null) throw new FileError("binary", file.name);
  if (text.trim() === "") throw new FileError("empty", file.name);
  return text.replace(/\r\n?/g, "\n");
}

/** Text in UTF-8, UTF-16 with a mark, or GB 18030; null for anything else. */
export function decode(bytes: Uint8Array): string | null {
  const encodings =
    bytes[0] === 0xff && bytes[1] === 0xfe
      ? ["utf-16le"]
      : bytes[0] === 0xfe && bytes[1] === 0xff
        ? ["utf-16be"]
        : ["utf-8", "gb18030"];
  for (const encoding of encodings) {
    try {
      const text = new TextDecoder(encoding, { fatal: true }).decode(bytes);
      if (!hasControls(text)) return text;
    } catch {
      // Not this one.
    }
  }
  return null;
}

/** Control characters other than tab, line feed, form feed, carriage return and escape occur in no text. */
function hasControls(text: string): boolean {
  return /[\u0000-\u0008\u000b\u000e-\u001a\u001c-\u001f\ufffe\uffff]/.test(text);
}
