import { t } from "../strings";
import { Mark } from "../ui/mark";
import { model, send } from "./actions";

/** The model in the binary; it answers what it was trained for, so its examples are its own. */
const BUILT_IN = "fathom-small-1";

/** The page before anything was said. */
export function Empty() {
  const current = model.value;
  const builtIn = current?.id === BUILT_IN;
  const examples = builtIn ? t().examplesBuiltIn : t().examples;
  return (
    <div class="empty">
      <Mark />
      <h1>{t().greeting}</h1>
      <p>{builtIn ? t().greetingBuiltIn : t().greetingModel}</p>
      <div class="examples">
        {examples.map(({ title, prompt }) => (
          <button key={title} type="button" class="example" disabled={!current} onClick={() => void send(prompt, [])}>
            <span class="example-title">{title}</span>
            <span class="example-prompt">{prompt}</span>
          </button>
        ))}
      </div>
    </div>
  );
}
