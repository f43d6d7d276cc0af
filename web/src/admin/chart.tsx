// A line chart of the last minutes.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { locale } from "../strings";
import { isDark } from "../ui/theme";

export interface Series {
  name: string;
  values: (number | null)[];
}

interface Props {
  title: string;
  note?: string;
  /** Seconds since 1970. */
  times: number[];
  series: Series[];
  show(value: number): string;
  /** What the scale counts: things that are whole, bytes, or anything. */
  unit?: "whole" | "bytes";
}

const powers = (base: number, factors: number[], most: number) =>
  Array.from({ length: most }, (_, i) => factors.map((factor) => factor * base ** i)).flat();
/** Steps between the lines of a scale. */
const STEPS = { whole: powers(10, [1, 2, 5], 12), bytes: powers(2, [1], 50) };

const HEIGHT = 150;
const COLOURS = { light: ["#1a6b8c", "#c4711b"], dark: ["#6dbddd", "#e9a867"] };

export function Chart({ title, note, times, series, show, unit }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const shape = `${isDark()} ${locale.value} ${series.map((s) => s.name).join()}`;
  const format = useRef(show);
  format.current = show;

  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const colours = COLOURS[isDark() ? "dark" : "light"];
    const style = getComputedStyle(document.documentElement);
    const grid = { stroke: style.getPropertyValue("--line"), width: 1 };
    const axis = { stroke: style.getPropertyValue("--text-faint"), font: "11px system-ui, sans-serif", grid, ticks: { show: false } };
    const made = new uPlot(
      {
        width: element.clientWidth,
        height: HEIGHT,
        legend: { show: false },
        cursor: { drag: { x: false, y: false }, points: { size: 6 } },
        padding: [8, 8, 0, 0],
        scales: { y: { range: (_, __, high) => [0, Math.max(unit === "bytes" ? 1024 : 1, (high ?? 0) * 1.1)] } },
        axes: [
          { ...axis, size: 26, space: 80, values: (_, splits) => splits.map(clock) },
          {
            ...axis,
            size: 58,
            space: 28,
            ...(unit ? { incrs: STEPS[unit] } : {}),
            values: (_, splits) => splits.map((v) => format.current(v)),
          },
        ],
        series: [
          {},
          ...series.map((s, i) => ({
            label: s.name,
            stroke: colours[i] as string,
            width: 1.5,
            fill: i === 0 ? `${colours[0]}1c` : "transparent",
            points: { show: false },
            spanGaps: false,
          })),
        ],
      },
      [[], ...series.map(() => [])],
      element,
    );
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape]);

  useEffect(() => {
    plot.current?.setData([times, ...series.map((s) => s.values)]);
  });

  const last = (values: (number | null)[]) => values.findLast((value) => value !== null) ?? 0;
  return (
    <figure class="panel">
      <figcaption>
        <h2>{title}</h2>
        {note && <span class="hint">{note}</span>}
      </figcaption>
      <div class="legend">
        {series.map((s, i) => (
          <span key={s.name} class={`legend-${i}`}>
            <i />
            {s.name}
            <b>{show(last(s.values))}</b>
          </span>
        ))}
      </div>
      <div class="plot" ref={place} role="img" aria-label={`${title}: ${series.map((s) => `${s.name} ${show(last(s.values))}`).join(", ")}`} />
    </figure>
  );
}

function clock(seconds: number): string {
  return new Intl.DateTimeFormat(locale.value, { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(seconds * 1000);
}
