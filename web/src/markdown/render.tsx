// Tokens to elements, one by one. Text stays text: no string ever becomes HTML, and the page's policy (trusted types)
// forbids it, so what a model writes cannot become code. Links lead only to http, https and mail; pictures of other hosts are shown
// as links, for looking at an answer must not tell anybody.

import type { Token, Tokens } from "marked";
import type { ComponentChildren, VNode } from "preact";
import { CodeBlock } from "./code";
import { decodeEntities } from "./entities";
import { Formula } from "./formula";
import type { MathToken } from "./maths";

/** The address of a link if it may be followed; null otherwise. */
export function safeHref(href: string): string | null {
  const address = decodeEntities(href).trim();
  try {
    // A relative address would lead into the server itself.
    const url = new URL(address);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** Pictures that need no request. */
function safeImage(href: string): string | null {
  return /^data:image\/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+$/.test(href) ? href : null;
}

export function renderBlock(token: Token, live: boolean): ComponentChildren {
  switch (token.type) {
    case "heading": {
      const { depth, tokens } = token as Tokens.Heading;
      // The page's own headings come before those of an answer.
      const Tag = `h${Math.min(depth + 2, 6)}` as "h3";
      return <Tag class={`md-h${depth}`}>{renderInline(tokens)}</Tag>;
    }
    case "paragraph":
      return <p>{renderInline((token as Tokens.Paragraph).tokens)}</p>;
    case "code": {
      const { text, lang } = token as Tokens.Code;
      return <CodeBlock text={text} language={(lang ?? "").split(/[\s{:,]/)[0] ?? ""} live={live} />;
    }
    case "math": {
      const { tex } = token as MathToken;
      return <Formula tex={tex} display />;
    }
    case "blockquote":
      return <blockquote>{renderBlocks((token as Tokens.Blockquote).tokens, live)}</blockquote>;
    case "list":
      return renderList(token as Tokens.List, live);
    case "table":
      return renderTable(token as Tokens.Table);
    case "hr":
      return <hr />;
    case "space":
    case "def":
      return null;
    case "html":
      return <p class="md-raw">{(token as Tokens.HTML).text.trimEnd()}</p>;
    case "text": {
      const { tokens, text } = token as Tokens.Text;
      return tokens ? renderInline(tokens) : decodeEntities(text);
    }
    default:
      return token.raw;
  }
}

function renderBlocks(tokens: readonly Token[], live: boolean): ComponentChildren {
  return tokens.map((token, index) => renderBlock(token, live && index === tokens.length - 1));
}

function renderList(list: Tokens.List, live: boolean): VNode {
  const items = list.items.map((item, index) => (
    <li class={item.task ? "md-task" : undefined}>
      {item.task && <input type="checkbox" checked={item.checked === true} disabled />}
      {renderItem(item, live && index === list.items.length - 1)}
    </li>
  ));
  if (!list.ordered) return <ul>{items}</ul>;
  return <ol start={list.start === "" ? 1 : list.start}>{items}</ol>;
}

function renderItem(item: Tokens.ListItem, live: boolean): ComponentChildren {
  // Newer versions of the parser put the box itself among the tokens.
  const tokens = item.tokens.filter((token) => token.type !== "checkbox");
  return renderBlocks(tokens, live);
}

function renderTable(table: Tokens.Table): VNode {
  const align = (index: number) => (table.align[index] ? `md-${table.align[index]}` : undefined);
  return (
    <div class="md-table" tabIndex={0} role="region">
      <table>
        <thead>
          <tr>
            {table.header.map((cell, i) => (
              <th class={align(i)}>{renderInline(cell.tokens)}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {table.rows.map((row) => (
            <tr>
              {row.map((cell, i) => (
                <td class={align(i)}>{renderInline(cell.tokens)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function renderInline(tokens: readonly Token[] | undefined): ComponentChildren {
  return (tokens ?? []).map(inline);
}

function inline(token: Token): ComponentChildren {
  switch (token.type) {
    case "text": {
      const { tokens, text } = token as Tokens.Text;
      return tokens ? renderInline(tokens) : decodeEntities(text);
    }
    case "escape":
      return (token as Tokens.Escape).text;
    case "strong":
      return <strong>{renderInline((token as Tokens.Strong).tokens)}</strong>;
    case "em":
      return <em>{renderInline((token as Tokens.Em).tokens)}</em>;
    case "del":
      return <del>{renderInline((token as Tokens.Del).tokens)}</del>;
    case "codespan":
      return <code>{(token as Tokens.Codespan).text}</code>;
    case "br":
      return <br />;
    case "math": {
      const { tex, display } = token as MathToken;
      return <Formula tex={tex} display={display} />;
    }
    case "link": {
      const { href, tokens } = token as Tokens.Link;
      const address = safeHref(href);
      if (!address) return renderInline(tokens);
      return outward(address, renderInline(tokens));
    }
    case "image": {
      const { href, text } = token as Tokens.Image;
      const source = safeImage(href);
      if (source) return <img src={source} alt={text} />;
      const address = safeHref(href);
      return address ? outward(address, text || address) : text;
    }
    case "html":
      return /^<br\s*\/?>$/i.test(token.raw) ? <br /> : token.raw;
    default:
      return token.raw;
  }
}

function outward(address: string, text: ComponentChildren): VNode {
  return (
    <a href={address} target="_blank" rel="noopener noreferrer nofollow">
      {text}
    </a>
  );
}
