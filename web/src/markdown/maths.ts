// Formulas in markdown: $…$ and \(…\) in a line; $$…$$ and \[…\] apart.

import type { TokenizerAndRendererExtension, Tokens } from "marked";

export interface MathToken extends Tokens.Generic {
  type: "math";
  tex: string;
  display: boolean;
}

/** A dollar sign opens a formula only if no space follows, and closes it only if none precedes and no digit follows:
 * "$5 and $10" are prices. */
const DOLLARS = /^\$(?!\s|\$)((?:\\[^]|[^\\$\n])+?)(?<![\s\\])\$(?!\d)/;
const DISPLAY_DOLLARS = /^\$\$((?:\\[^]|[^\\$])+?)\$\$/;
const PARENTHESES = /^\\\(([^]+?)\\\)/;
const BRACKETS = /^\\\[([^]+?)\\\]/;
const BLOCK = /^ {0,3}(?:\$\$((?:\\[^]|[^\\$])+?)\$\$|\\\[([^]+?)\\\])[ \t]*(?:\n|$)/;

export const blockMath: TokenizerAndRendererExtension = {
  name: "math",
  level: "block",
  start: (src) => {
    const at = src.search(/(^|\n) {0,3}(\$\$|\\\[)/);
    return at < 0 ? undefined : at;
  },
  tokenizer(src): MathToken | undefined {
    const match = BLOCK.exec(src);
    const tex = match?.[1] ?? match?.[2];
    // A blank line ends a paragraph, and a formula too.
    if (!match || !tex?.trim() || /\n\s*\n/.test(tex.trim())) return undefined;
    return { type: "math", raw: match[0], tex: tex.trim(), display: true };
  },
};

export const inlineMath: TokenizerAndRendererExtension = {
  name: "math",
  level: "inline",
  start: (src) => {
    const at = src.search(/\$|\\\(|\\\[/);
    return at < 0 ? undefined : at;
  },
  tokenizer(src): MathToken | undefined {
    const display = DISPLAY_DOLLARS.exec(src) ?? BRACKETS.exec(src);
    const match = display ?? PARENTHESES.exec(src) ?? DOLLARS.exec(src);
    const tex = match?.[1]?.trim();
    if (!match || !tex) return undefined;
    return { type: "math", raw: match[0], tex, display: display !== null };
  },
};
