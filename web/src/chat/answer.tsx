import { useEffect, useState } from "preact/hooks";
import type { Message, Problem } from "../lib/conversation";
import { compact, count, duration } from "../lib/format";
import { Markdown } from "../markdown/markdown";
import { locale, t } from "../strings";
import { CopyButton } from "../ui/copy-button";
import { Icon } from "../ui/icon";
import { regenerate, resume, run as openRun } from "./actions";
import type { Run } from "./runs";
import { Versions } from "./versions";
import { announcement, dialog } from "./view";

interface Props {
  message: Message;
  versions: Message[];
  /** If the answer is being written. */
  run: Run | null;
  last: boolean;
}

export function AnswerView({ message, versions, run, last }: Props) {
  const shown = run ? run.answer.value : message;
  const phase = run?.phase.value ?? null;
  const [wasLive, setWasLive] = useState(false);
  useEffect(() => {
    if (run) setWasLive(true);
    else if (wasLive) {
      announcement.value = `${t().answerDone} ${message.text.slice(0, 300)}`;
      setWasLive(false);
    }
  }, [run]);
  const empty = !run && !shown.text && !shown.reasoning && shown.finish === "stop";
  return (
    <article class="answer" aria-label={t().assistant} aria-busy={run !== null}>
      {shown.reasoning && <Reasoning message={shown} live={run !== null && !shown.text} />}
      {phase === "waiting" && <Waiting />}
      {shown.text && <Markdown text={shown.text} live={run !== null} />}
      {empty && <p class="quiet">{t().emptyAnswer}</p>}
      {!run && <Ending message={shown} last={last} />}
      {!run && (
        <div class={last ? "actions actions-shown" : "actions"}>
          <Versions message={message} versions={versions} />
          {shown.text && <CopyButton text={() => shown.text} label={t().copy} />}
          <button
            type="button"
            class="icon-button"
            disabled={openRun.value !== null}
            onClick={() => void regenerate(message)}
            aria-label={t().regenerate}
            title={t().regenerate}
          >
            <Icon name="again" size={16} />
          </button>
          <Figures message={shown} />
        </div>
      )}
    </article>
  );
}

/** Nothing has come yet. */
function Waiting() {
  const [ms, setMs] = useState(0);
  useEffect(() => {
    const begun = performance.now();
    const timer = setInterval(() => setMs(performance.now() - begun), 500);
    return () => clearInterval(timer);
  }, []);
  return (
    <div class="waiting">
      <span class="dots" aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
      {ms > 1500 && (
        <span>
          {t().waiting} {duration(Math.floor(ms / 1000) * 1000, locale.value)}
        </span>
      )}
    </div>
  );
}

/** Open while it is written, folded afterwards, unless the reader decides otherwise. */
function Reasoning({ message, live }: { message: Message; live: boolean }) {
  const [picked, pick] = useState<boolean | null>(null);
  const open = picked ?? live;
  const ms = message.reasoningMs ?? 0;
  const done = ms >= 1000 ? t().reasoned(duration(ms, locale.value)) : ms > 0 ? t().reasonedBriefly : t().reasonedSome;
  const title = live ? t().reasoning : done;
  return (
    <div class="reasoning">
      <button type="button" class="reasoning-head" onClick={() => pick(!open)} aria-expanded={open}>
        <Icon name="thinking" size={16} />
        <span class={live ? "shimmer" : undefined}>{title}</span>
        <span class={open ? "turn turn-open" : "turn"}>
          <Icon name="right" size={14} />
        </span>
      </button>
      {open && (
        <div class="reasoning-text">
          <Markdown text={message.reasoning ?? ""} live={live} />
        </div>
      )}
    </div>
  );
}

/** Why there is no more, and what can be done about it. */
function Ending({ message, last }: { message: Message; last: boolean }) {
  const { finish, problem } = message;
  if (!finish || finish === "stop") return null;
  const sentence =
    finish === "error" && problem
      ? problemText(problem)
      : { length: t().endedLength, stopped: t().endedStopped, lost: t().endedLost, filter: t().endedFilter, error: t().problemServer }[finish];
  const busy = openRun.value !== null;
  const retry = finish === "error" || (finish === "lost" && !message.text && !message.reasoning);
  return (
    <div class={finish === "error" || finish === "lost" ? "ending ending-bad" : "ending"} role={finish === "error" ? "alert" : undefined}>
      {(finish === "error" || finish === "lost") && <Icon name="alert" />}
      <div class="ending-text">
        <span>{sentence}</span>
        {problem?.detail && <span class="ending-detail">{problem.detail}</span>}
      </div>
      {last && finish !== "filter" && (
        <span class="ending-buttons">
          {problem?.kind === "key" && (
            <button type="button" class="button" onClick={() => (dialog.value = { name: "key" })}>
              {t().enterKey}
            </button>
          )}
          <button
            type="button"
            class="button"
            disabled={busy}
            onClick={() => void (retry ? regenerate({ ...message, finish: "error" }) : resume(message))}
          >
            {retry ? t().retry : t().continue}
          </button>
        </span>
      )}
    </div>
  );
}

export function problemText(problem: Problem): string {
  const texts: Record<Problem["kind"], string> = {
    key: t().problemKey,
    balance: t().problemBalance,
    busy: t().problemBusy,
    request: t().problemRequest,
    server: t().problemServer,
    network: t().problemNetwork,
  };
  return texts[problem.kind];
}

/** Shorter answers come in one piece, and say nothing of the rate. */
const RATED_MS_MIN = 20;
const RATED_TOKENS_MIN = 16;

function Figures({ message }: { message: Message }) {
  const { usage, writingMs = 0 } = message;
  if (!usage) return null;
  const rated = writingMs >= RATED_MS_MIN && usage.output >= RATED_TOKENS_MIN;
  const rate = rated ? compact(((usage.output - 1) / writingMs) * 1000, locale.value) : "";
  const parts = [t().answerStats(count(usage.output, locale.value), rate)];
  if (usage.hit > 0) parts.push(t().answerCached(count(usage.hit, locale.value)));
  return <span class="figures">{parts.join(" · ")}</span>;
}
