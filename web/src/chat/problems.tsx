import { t } from "../strings";
import { Icon } from "../ui/icon";
import { problemText } from "./answer";
import { infoProblem, keyWanted, loadInfo } from "./models";
import { dialog } from "./view";

/** Why nothing can be sent, if so. */
export function Problems() {
  if (keyWanted.value) {
    return (
      <div class="problem" role="alert">
        <Icon name="key" />
        <span>{t().apiKeyWanted}</span>
        <button type="button" class="button" onClick={() => (dialog.value = { name: "key" })}>
          {t().enterKey}
        </button>
      </div>
    );
  }
  const problem = infoProblem.value;
  if (!problem) return null;
  return (
    <div class="problem" role="alert">
      <Icon name="alert" />
      <span>{problemText(problem)}</span>
      <button type="button" class="button" onClick={() => void loadInfo()}>
        {t().retry}
      </button>
    </div>
  );
}
