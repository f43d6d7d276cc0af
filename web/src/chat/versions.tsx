import type { Message } from "../lib/conversation";
import { t } from "../strings";
import { Icon } from "../ui/icon";
import { show } from "./library";

/** Pages through what was said or answered in one place. */
export function Versions({ message, versions }: { message: Message; versions: Message[] }) {
  if (versions.length < 2) return null;
  const at = versions.findIndex((m) => m.id === message.id);
  const step = (by: number) => {
    const to = versions[at + by];
    if (to) void show(to);
  };
  return (
    <span class="versions" role="group" aria-label={t().version(at + 1, versions.length)}>
      <button
        type="button"
        class="icon-button"
        disabled={at === 0}
        onClick={() => step(-1)}
        aria-label={t().previousVersion}
        title={t().previousVersion}
      >
        <Icon name="left" size={16} />
      </button>
      <span class="versions-count" aria-hidden="true">
        {at + 1}/{versions.length}
      </span>
      <button
        type="button"
        class="icon-button"
        disabled={at === versions.length - 1}
        onClick={() => step(1)}
        aria-label={t().nextVersion}
        title={t().nextVersion}
      >
        <Icon name="right" size={16} />
      </button>
    </span>
  );
}
