// Charts over time: uPlot draws, the legend is text that keyboards and screen readers reach.

import uPlot from 'uplot';
import { h, setText } from './dom';
import { clock } from './format';
import { EVERY_SECONDS, KEPT, type Point } from './series';

export interface Line {
  label: string;
  /** A custom property of the style sheet. */
  colour: string;
  value: (point: Point) => number | null;
}

export interface ChartOptions {
  title: string;
  lines: Line[];
  format: (value: number | null) => string;
  /** Lines lie on each other, the first at the bottom. */
  stacked?: boolean;
  /** Units of the axis are powers of two. */
  binary?: boolean;
  logarithmic?: boolean;
  /** The top of the axis. */
  most?: number;
}

const SYNC = uPlot.sync('time');
const POWERS_OF_TWO = Array.from({ length: 60 }, (_, power) => 2 ** power);

/** A chart in a figure; its caption's values are those under the cursor, or the latest. */
export class Chart {
  readonly element: HTMLElement;
  private readonly canvas = h('div', { class: 'plot', 'aria-hidden': 'true' });
  private readonly values: HTMLElement[];
  private readonly when = h('span', { class: 'when' });
  private plot: uPlot | null = null;
  private points: Point[] = [];
  private cursor: number | null = null;

  constructor(private readonly options: ChartOptions) {
    this.values = options.lines.map(() => h('dd'));
    const legend = options.lines.map((line, index) => {
      const swatch = h('span', { class: `swatch ${line.colour}` });
      return h('div', {}, h('dt', {}, swatch, line.label), this.values[index] ?? null);
    });
    this.element = h(
      'figure',
      { class: 'chart' },
      h('figcaption', {}, h('h3', {}, options.title, this.when), h('dl', { class: 'legend' }, ...legend)),
      this.canvas,
    );
    new ResizeObserver(() => this.resize()).observe(this.canvas);
  }

  show(points: Point[]): void {
    this.points = points;
    if (this.canvas.clientWidth === 0) return;
    if (!this.plot) this.create();
    this.plot?.setData(this.data(), false);
    this.plot?.setScale('x', this.window());
    this.tell();
  }

  /** Draws it anew, in the colours that hold now. */
  recolour(): void {
    this.plot?.destroy();
    this.plot = null;
    this.show(this.points);
  }

  private resize(): void {
    if (this.plot) this.plot.setSize({ width: this.canvas.clientWidth, height: this.canvas.clientHeight });
    else if (this.points.length > 0) this.show(this.points);
  }

  private window(): { min: number; max: number } {
    const max = this.points.at(-1)?.time ?? Date.now() / 1000;
    const first = this.points[0]?.time ?? max;
    // A minute at first, then as much as there is.
    return { min: Math.min(max - 60, Math.max(first, max - KEPT * EVERY_SECONDS)), max };
  }

  private tell(): void {
    const point = this.points[this.cursor ?? this.points.length - 1];
    this.options.lines.forEach((line, index) => {
      const value = this.values[index];
      if (value) setText(value, point ? this.options.format(line.value(point)) : '–');
    });
    setText(this.when, this.cursor !== null && point ? clock(point.time) : '');
  }

  private data(): uPlot.AlignedData {
    const { lines, stacked, logarithmic } = this.options;
    const times = this.points.map((point) => point.time);
    const values = lines.map((line) => this.points.map((point) => {
      const value = line.value(point);
      return logarithmic && value !== null && value <= 0 ? null : value;
    }));
    if (!stacked) return [times, ...values];
    // The top of the pile first: each is drawn down to the next.
    const piled: number[][] = [];
    values.forEach((of, index) => piled.push(of.map((value, at) => (value ?? 0) + (piled[index - 1]?.[at] ?? 0))));
    return [times, ...piled.reverse()];
  }

  private create(): void {
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string): string => style.getPropertyValue(`--${name}`).trim();
    const { lines, format, stacked, binary, logarithmic, most } = this.options;
    const drawn = stacked ? [...lines].reverse() : lines;
    const decades = (_: uPlot, splits: number[]): (number | null)[] =>
      splits.map((split) => (!logarithmic || Number.isInteger(Number(Math.log10(split).toFixed(6))) ? split : null));
    const axis: uPlot.Axis = {
      stroke: colour('muted'),
      grid: { stroke: colour('grid'), width: 1 },
      ticks: { show: false },
      font: `11px ${style.getPropertyValue('--sans')}`,
    };
    this.plot = new uPlot(
      {
        width: this.canvas.clientWidth,
        height: this.canvas.clientHeight,
        legend: { show: false },
        padding: [8, 4, 0, 0],
        cursor: { sync: { key: SYNC.key }, y: false, drag: { x: false, y: false }, points: { size: 6 } },
        scales: {
          x: { time: true, auto: false },
          y: logarithmic
            ? { distr: 3, range: (_, min, max) => [10 ** Math.floor(Math.log10(min || 0.0001)), 10 ** Math.ceil(Math.log10(max || 1))] }
            : { range: (_, __, max) => [0, most ?? Math.max((max || 0) * 1.12, binary ? 1024 : 1)] },
        },
        axes: [
          { ...axis, space: 76, size: 26, values: (_, ticks) => ticks.map((tick) => clock(tick)), incrs: [10, 15, 30, 60, 120, 300, 600] },
          {
            ...axis,
            size: 64,
            filter: decades as uPlot.Axis.Filter,
            grid: { stroke: colour('grid'), width: 1, filter: decades as uPlot.Axis.Filter },
            space: logarithmic ? 22 : 34,
            values: (_, ticks) => ticks.map((tick) => (tick === null ? '' : format(tick))),
            ...(binary ? { incrs: POWERS_OF_TWO } : {}),
          },
        ],
        series: [
          {},
          ...drawn.map((line): uPlot.Series => ({
            stroke: colour(line.colour),
            width: stacked ? 1 : 1.75,
            points: { show: false },
            ...(stacked ? { fill: `${colour(line.colour)}b0` } : {}),
            spanGaps: !stacked,
          })),
        ],
        ...(stacked
          ? { bands: drawn.slice(1).map((line, index) => ({ series: [index + 1, index + 2] as [number, number], fill: `${colour(drawn[index]?.colour ?? line.colour)}b0` })) }
          : {}),
        hooks: {
          setCursor: [(plot) => {
            this.cursor = plot.cursor.idx ?? null;
            this.tell();
          }],
        },
      },
      this.data(),
      this.canvas,
    );
  }
}
