// Draws formulas under a policy that allows no style attributes: KaTeX makes elements and sets their styles through the
// DOM, which the policy allows, but for a few attributes named "style", which are set that way here.

import katex from "katex";

interface Tree {
  attributes?: Record<string, string>;
  children?: Tree[];
  toNode(): Node;
}

const render = (katex as unknown as { __renderToDomTree(tex: string, options: object): Tree }).__renderToDomTree;

/** Puts the formula into `place`; false if it cannot be read. */
export function draw(place: HTMLElement, tex: string, display: boolean): boolean {
  let node: Node;
  const styles: string[] = [];
  try {
    const tree = render(tex, {
      displayMode: display,
      output: "htmlAndMathml",
      throwOnError: true,
      strict: "ignore",
      trust: false,
      maxSize: 20,
      maxExpand: 500,
    });
    setAside(tree, styles);
    node = tree.toNode();
  } catch {
    place.replaceChildren();
    return false;
  }
  place.replaceChildren(node);
  for (const element of place.querySelectorAll<HTMLElement>("[data-style]")) {
    element.style.cssText = styles[Number(element.dataset["style"])] ?? "";
    element.removeAttribute("data-style");
  }
  return true;
}

function setAside(tree: Tree, styles: string[]): void {
  const style = tree.attributes?.["style"];
  if (tree.attributes && style !== undefined) {
    const { style: _, ...others } = tree.attributes;
    tree.attributes = { ...others, "data-style": String(styles.push(style) - 1) };
  }
  for (const child of tree.children ?? []) setAside(child, styles);
}
