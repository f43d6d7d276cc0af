import { bytes, count } from "../lib/format";
import { locale, t } from "../strings";
import { Icon } from "../ui/icon";

interface Props {
  name: string;
  bytes: number;
  /** Null if unknown, undefined while it is being counted. */
  tokens: number | null | undefined;
  onRemove?: () => void;
}

export function FileChip({ name, bytes: size, tokens, onRemove }: Props) {
  const counted =
    tokens === undefined ? t().counting : tokens === null ? null : t().tokens(tokens, count(tokens, locale.value));
  return (
    <div class="chip">
      <Icon name="file" size={20} />
      <span class="chip-text">
        <span class="chip-name">{name}</span>
        <span class="chip-note">{[bytes(size, locale.value), counted].filter(Boolean).join(" · ")}</span>
      </span>
      {onRemove && (
        <button
          type="button"
          class="icon-button"
          onClick={onRemove}
          aria-label={t().removeFile(name)}
          title={t().removeFile(name)}
        >
          <Icon name="close" size={16} />
        </button>
      )}
    </div>
  );
}
