import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import type { Usage } from '../../../protocol/history.ts';
import { stepTimes, type UsePlot, usePlots } from '../view/use-plots.ts';
import { plain } from './words.tsx';

/** 24 hours of each machine and GPU. `theme`: another one draws anew. */
export function Use({ usage, theme }: { usage: Usage | null; theme: string }) {
  if (usage === null || usage.machines.length === 0) return null;
  const times = stepTimes(usage);
  return (
    <section id="use" aria-labelledby="use-title">
      <h2 id="use-title">
        Use <small>the last 24 hours</small>
      </h2>
      <ul class="cards plots">
        {usePlots(usage).map(({ node, plots }) => (
          <li key={node} class="card">
            <h3>{plain(node)}</h3>
            {plots.map((plot, index) => (
              <figure key={`${plot.title} ${index}`}>
                <figcaption>
                  {plain(plot.title)}
                  <span class="words">
                    <Legend plot={plot} />
                  </span>
                </figcaption>
                <Plot
                  key={theme}
                  plot={plot}
                  times={times}
                  label={`${plain(node)}, ${plain(plot.title)}: ${plot.words}`}
                />
              </figure>
            ))}
          </li>
        ))}
      </ul>
    </section>
  );
}

const Legend = ({ plot }: { plot: UsePlot }) => (
  <>
    {plot.curves.map(({ label, values }, index) => {
      const last = values.findLast((value) => value !== null);
      return (
        <span key={label}>
          <span class={`key curve-${index}`} aria-hidden="true" /> {label}{' '}
          {last == null ? '-' : `${Math.round(100 * last)} %`}
        </span>
      );
    })}
  </>
);

const heightPx = 84;

function Plot({ plot, times, label }: { plot: UsePlot; times: number[]; label: string }) {
  const box = useRef<HTMLDivElement>(null);
  const drawn = useRef<uPlot | null>(null);
  const data = [times, ...plot.curves.map(({ values }) => values)] as uPlot.AlignedData;
  useEffect(() => {
    const place = box.current;
    if (place === null) return;
    const made = new uPlot(optionsOf(place, plot), data, place);
    drawn.current = made;
    const watch = new ResizeObserver(() => made.setSize({ width: place.clientWidth, height: heightPx }));
    watch.observe(place);
    return () => {
      watch.disconnect();
      made.destroy();
      drawn.current = null;
    };
  }, []);
  useEffect(() => drawn.current?.setData(data));
  return <div ref={box} class="plot" role="img" aria-label={label} />;
}

function optionsOf(place: HTMLElement, { curves }: UsePlot): uPlot.Options {
  const style = getComputedStyle(place);
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  const axis = { stroke: colour('--soft'), font: '11px system-ui', ticks: { show: false } };
  return {
    width: Math.max(120, place.clientWidth),
    height: heightPx,
    padding: [6, 4, 0, 0],
    cursor: { show: false },
    legend: { show: false },
    scales: { y: { range: [0, 1] } },
    axes: [
      { ...axis, grid: { show: false }, space: 60, size: 18, values: (_, at) => at.map((one) => hour(one)) },
      {
        ...axis,
        size: 44,
        splits: () => [0, 0.5, 1],
        values: (_, at) => at.map((one) => `${100 * one} %`),
        grid: { stroke: colour('--line'), width: 1 },
      },
    ],
    series: [
      {},
      ...curves.map(({ label }, index) => ({
        label,
        stroke: colour(`--curve-${index}`),
        width: 1.5,
        ...(index === 0 && { fill: colour('--curve-0-fill') }),
        // A line needs two of them: a new mesh's first minutes are seen too.
        points: { show: (plot: uPlot, at: number) => isAlone(plot.data[at] ?? []) },
      })),
    ],
  };
}

const isAlone = (values: ArrayLike<number | null | undefined>): boolean =>
  Array.from(values).filter((value) => value != null).length === 1;

const hour = (seconds: number): string =>
  new Date(seconds * 1000).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
