import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { siblings } from "../lib/conversation";
import { t } from "../strings";
import { Icon } from "../ui/icon";
import { run } from "./actions";
import { AnswerView } from "./answer";
import { Empty } from "./empty";
import { messages, openId, path } from "./library";
import { QuestionView } from "./question";

/** The reader is at the end if no more than this lies below, in pixels. */
const NEAR_END = 40;

export function Thread() {
  const scroller = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const [atEnd, setAtEnd] = useState(true);
  const stuck = useRef(true);
  const before = useRef(0);

  const toEnd = () => {
    const element = scroller.current;
    if (!element) return;
    stuck.current = true;
    setAtEnd(true);
    element.scrollTop = element.scrollHeight;
  };

  // Who scrolls up is let go; who comes back to the end is held again.
  const onScroll = () => {
    const element = scroller.current;
    if (!element) return;
    const below = element.scrollHeight - element.clientHeight - element.scrollTop;
    if (below <= NEAR_END) stuck.current = true;
    else if (element.scrollTop < before.current) stuck.current = false;
    before.current = element.scrollTop;
    setAtEnd(below <= NEAR_END);
  };

  useEffect(() => {
    const element = scroller.current;
    if (!element || !content.current) return;
    const observer = new ResizeObserver(() => {
      if (stuck.current) element.scrollTop = element.scrollHeight;
      onScroll();
    });
    observer.observe(content.current);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  // Another conversation, or something new was said: to the end.
  const shown = path.value;
  const lastQuestion = shown.findLast((m) => m.role === "user")?.id;
  useLayoutEffect(toEnd, [openId.value, lastQuestion]);

  const writing = run.value?.answer.value.id;
  return (
    <div class="thread" ref={scroller} onScroll={onScroll} tabIndex={-1}>
      <div class="thread-inner" ref={content}>
        {shown.length === 0 && <Empty />}
        {shown.map((message) => {
          const versions = siblings(messages.value, message.parent);
          return message.role === "user" ? (
            <QuestionView key={message.id} message={message} versions={versions} />
          ) : (
            <AnswerView
              key={message.id}
              message={message}
              versions={versions}
              run={message.id === writing ? run.value : null}
              last={message === shown.at(-1)}
            />
          );
        })}
      </div>
      {!atEnd && (
        <button type="button" class="jump" onClick={toEnd} aria-label={t().jumpDown} title={t().jumpDown}>
          <Icon name="down" />
        </button>
      )}
    </div>
  );
}
