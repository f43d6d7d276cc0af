import assert from "node:assert/strict";
import { test } from "node:test";
import { render } from "preact-render-to-string";
import { Blocks, lex } from "../src/markdown/blocks";
import { decodeEntities } from "../src/markdown/entities";
import type { MathToken } from "../src/markdown/maths";
import { Markdown } from "../src/markdown/markdown";
import { safeHref } from "../src/markdown/render";

const html = (text: string, live = false) => render(<Markdown text={text} live={live} />);
const inner = (text: string) => html(text).replace(/^<div class="md">(.*)<\/div>$/s, "$1");

test("what people write", () => {
  assert.equal(inner("**a** *b* ~~c~~ `d<e>`"), "<p><strong>a</strong> <em>b</em> <del>c</del> <code>d&lt;e></code></p>");
  assert.equal(inner("# T"), '<h3 class="md-h1">T</h3>');
  assert.equal(inner("- a\n- b"), "<ul><li>a</li><li>b</li></ul>");
  assert.equal(inner("3. a\n4. b"), '<ol start="3"><li>a</li><li>b</li></ol>');
  assert.equal(inner("> q"), "<blockquote><p>q</p></blockquote>");
  assert.match(inner("| a | b |\n|---|--:|\n| 1 | 2 |"), /<th>a<\/th><th class="md-right">b<\/th>.*<td class="md-right">2<\/td>/);
  assert.match(inner("- [x] done"), /<li class="md-task"><input type="checkbox" checked disabled\/?>/);
  assert.equal(inner("a &lt;b&gt; &amp; &#x4e2d; &nope;"), "<p>a &lt;b> &amp; 中 &amp;nope;</p>");
});

test("nothing a model writes becomes markup, code or a request", () => {
  const attacks = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "hello <b onclick=alert(1)>x</b>",
    "<svg/onload=alert(1)>",
    "<iframe src=https://evil.example></iframe>",
    "<style>*{display:none}</style>",
    "<form action=https://evil.example><input></form>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](&#x6A;avascript&colon;alert(1))",
    "[x](\u0001javascript:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:msgbox)",
    "[x](file:///etc/passwd)",
    "[x](/admin/api/live)",
    "[x](//evil.example)",
    "<javascript:alert(1)>",
    "![x](https://evil.example/pixel.png)",
    "![x](javascript:alert(1))",
    "![x](data:image/svg+xml;base64,PHN2Zz4=)",
    '[x](https://a.example "onmouseover=alert(1)")',
    "[a]: javascript:alert(1)\n\n[a]",
    "| <script> |\n|---|\n| <img src=x onerror=alert(1)> |",
    "```<script>\nalert(1)\n```",
    '```"onclick="alert(1)\nx\n```',
    "$\\href{javascript:alert(1)}{x}$",
    "`<script>`",
  ];
  for (const attack of attacks) {
    for (const live of [false, true]) {
      const out = html(attack, live);
      // Only text may hold these; it is escaped, so a tag in the output is one of ours.
      const tags = [...out.matchAll(/<([a-z0-9]+)([^<>]*)>/g)];
      for (const [whole, tag, attributes] of tags) {
        assert.ok(!/^(script|style|iframe|form|object|embed|img|base|link|meta)$/.test(tag as string), `${attack} → ${whole}`);
        const rest = (attributes as string).replace(/"[^"]*"/g, '""');
        assert.ok(!/\son\w+=/.test(rest), `${attack} → ${whole}`);
        const href = /href="([^"]*)"/.exec(attributes as string)?.[1];
        if (href !== undefined) assert.match(href, /^(https?:\/\/|mailto:)/, `${attack} → ${whole}`);
      }
    }
  }
});

test("links lead out and tell nobody where from", () => {
  assert.equal(
    inner("[a](https://a.example/?x=1&y=2)"),
    '<p><a href="https://a.example/?x=1&amp;y=2" target="_blank" rel="noopener noreferrer nofollow">a</a></p>',
  );
  assert.match(inner("see https://a.example/b"), /href="https:\/\/a\.example\/b"/);
  assert.equal(safeHref("mailto:a@b.example"), "mailto:a@b.example");
  assert.equal(safeHref("ftp://a"), null);
  assert.equal(safeHref("page.html"), null);
});

test("pictures: those within the text are shown, others are links", () => {
  assert.match(inner("![dot](data:image/png;base64,iVBORw0KGgo=)"), /<img src="data:image\/png;base64,iVBORw0KGgo=" alt="dot"/);
  assert.match(inner("![far](https://a.example/p.png)"), /<a href="https:\/\/a\.example\/p\.png"[^>]*>far<\/a>/);
});

test("formulas, and dollars that are money", () => {
  const formula = (text: string) => lexed(text).filter((token) => token.type === "math").map((token) => (token as MathToken).tex);
  assert.deepEqual(formula("$$\nx^2\n$$"), ["x^2"]);
  assert.deepEqual(formula("\\[ a \\]"), ["a"]);
  assert.deepEqual(formula("a $x_1$ and \\(y\\)."), ["x_1", "y"]);
  assert.deepEqual(formula("It costs $5 and then $10."), []);
  assert.deepEqual(formula("`$x$`"), []);
  assert.deepEqual(formula("$a_b$ *c* $d*e*f$"), ["a_b", "d*e*f"]);
  assert.deepEqual(formula("escaped \\$x\\$"), []);
});

/** All tokens of a text, nested ones too. */
function lexed(text: string): ReturnType<typeof lex>["tokens"] {
  const all: ReturnType<typeof lex>["tokens"] = [];
  const visit = (tokens: ReturnType<typeof lex>["tokens"]) => {
    for (const token of tokens) {
      all.push(token);
      if ("tokens" in token && token.tokens) visit(token.tokens);
      if ("items" in token) visit(token["items"]);
    }
  };
  visit(lex(text).tokens);
  return all;
}

const documents = [
  "One.\n\nTwo **three**.\n\n- a\n- b\n\n  still b\n\n- c\n\nEnd.",
  "Title\n===\n\n```js\nlet a = 1;\n\nlet b;\n```\n\nafter\n\n    indented\n\nx",
  "| a | b |\n|---|---|\n| 1 | 2 |\n\n> quote\n> more\n\n---\n\n1. x\n\n   y\n2. z",
  "See [it][1] and [that].\n\nMore.\n\n[1]: https://a.example\n[that]: https://b.example",
  "$$\na = b\n$$\n\ntext $x$ text\n\n\\[\nc\n\\]\n",
  "a\r\nb\r\n\r\n* c\r\n* d\r\n\r\n~~~\r\ncode\r\n~~~",
  "<div>\n\nhtml\n\n</div>\n\n# h\ntext",
];

test("text that grows letter by letter ends up as text that came at once", () => {
  for (const document of documents) {
    for (const step of [1, 3, 7]) {
      const growing = new Blocks();
      for (let end = 0; end < document.length; end += step) growing.update(document.slice(0, end));
      const grown = growing.update(document);
      const whole = new Blocks().update(document);
      const text = (blocks: readonly { start: number; token: object }[]) => JSON.stringify(blocks);
      assert.equal(text(grown), text(whole), JSON.stringify({ document, step }));
    }
  }
});

test("what is complete is not parsed again", () => {
  const blocks = new Blocks();
  const before = blocks.update("One.\n\nTwo.\n\nThree");
  const after = blocks.update("One.\n\nTwo.\n\nThree and more.\n\nFour");
  assert.equal(after[0], before[0]);
  assert.equal(after[1], before[1]);
  assert.notEqual(after[2], before[2]);
  assert.equal(after.length, 4);
});

test("blocks begin where they say", () => {
  for (const document of documents) {
    const text = document.replace(/\r\n?/g, "\n");
    for (const { start, token } of new Blocks().update(text)) {
      assert.equal(text.slice(start, start + token.raw.length), token.raw);
    }
  }
});

test("open marks are closed while the text is written", () => {
  assert.match(html("some **bold te", true), /<strong>bold te<\/strong>/);
  assert.match(html("some **bold te", false), /\*\*bold te/);
});

test("character references", () => {
  assert.equal(decodeEntities("&lt;&#60;&#x3C;&copy;&hellip;&unknown;&"), "<<<©…&unknown;&");
  assert.equal(decodeEntities("&#0;&#xD800;&#x110000;&constructor;"), "\ufffd\ufffd\ufffd&constructor;");
});
