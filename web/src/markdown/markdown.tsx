// Text as markdown, also while it is being written.

import { Component, type VNode } from "preact";
import { useRef } from "preact/hooks";
import remend from "remend";
import { type Block, Blocks } from "./blocks";
import { renderBlock } from "./render";

export function Markdown({ text, live = false }: { text: string; live?: boolean }): VNode {
  const blocks = useRef<Blocks | null>(null);
  blocks.current ??= new Blocks();
  const all = blocks.current.update(text);
  return (
    <div class="md">
      {all.map((block, index) => (
        <BlockView key={block.start} block={block} live={live && index === all.length - 1} />
      ))}
    </div>
  );
}

/** Rendered again only if its text has changed. */
class BlockView extends Component<{ block: Block; live: boolean }> {
  override shouldComponentUpdate(next: { block: Block; live: boolean }): boolean {
    return next.live || next.live !== this.props.live || next.block.token !== this.props.block.token;
  }

  override render({ block, live }: { block: Block; live: boolean }) {
    return renderBlock(live ? mended(block) : block.token, live);
  }
}

/** The paragraph that is being written, with its open marks closed, so that **bold does not flicker. */
function mended(block: Block): Block["token"] {
  const { token } = block;
  if (token.type !== "paragraph" && token.type !== "list") return token;
  const raw = remend(token.raw, { katex: false, inlineKatex: false });
  return raw === token.raw ? token : (new Blocks().update(raw)[0]?.token ?? token);
}
