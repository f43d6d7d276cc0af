// Markdown that grows at its end: only the last block is parsed again.

import { Lexer, type Links, Marked, type Token } from "marked";
import { blockMath, inlineMath } from "./maths";

const marked = new Marked({ gfm: true, breaks: false, extensions: [blockMath, inlineMath] });

export interface Block {
  /** Where the block begins: blocks keep it while the text grows, so it serves as their key. */
  start: number;
  token: Token;
}

export function lex(text: string, links: Links = {}): { tokens: Token[]; links: Links } {
  const lexer = new Lexer(marked.defaults);
  Object.assign(lexer.tokens.links, links);
  const tokens = lexer.lex(text);
  return { tokens, links: tokens.links };
}

/** The blocks of a text. One object belongs to one text. */
export class Blocks {
  private text = "";
  private blocks: Block[] = [];
  private links: Links = {};

  /** The blocks of `text`; those that are the same as before are the same objects. */
  update(text: string): readonly Block[] {
    text = text.replace(/\r\n?/g, "\n");
    if (text === this.text) return this.blocks;
    // A block ends where the next one begins; the last one may still go on, a list even after an empty line.
    const kept = text.startsWith(this.text) ? this.blocks.slice(0, -1) : [];
    const start = kept.length > 0 ? (this.blocks.at(-1)?.start ?? 0) : 0;
    const { tokens, links } = lex(text.slice(start), start > 0 ? this.links : {});
    if (start > 0 && tokens.some((token) => token.type === "def")) {
      // A link is defined, perhaps below its use.
      this.blocks = [];
      this.text = "";
      return this.update(text);
    }
    let at = start;
    for (const token of tokens) {
      if (token.type !== "space") kept.push({ start: at, token });
      at += token.raw.length;
    }
    this.text = text;
    this.blocks = kept;
    this.links = links;
    return kept;
  }
}
