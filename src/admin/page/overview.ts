// The first view: what it serves and saves, how fast, and how full it is.

import type { OriginHealth, Snapshot } from './api';
import { Chart } from './charts';
import { facts, h, setText, type Fact } from './dom';
import { bytes, count, dollars, moment, percent, seconds, span } from './format';
import { quantile, type History } from './series';

const rate = (value: number | null): string => `${count(value)}/s`;
const flow = (value: number | null): string => `${bytes(value)}/s`;

class Figure {
  readonly element: HTMLElement;
  private readonly value = h('dd', { class: 'value' }, '–');
  private readonly more = h('dd', { class: 'more' });

  constructor(label: string) {
    this.element = h('div', {}, h('dt', {}, label), this.value, this.more);
  }

  show(value: string, more: string): void {
    setText(this.value, value);
    setText(this.more, more);
  }
}

/** How much of something is used. */
class Meter {
  readonly element: HTMLElement;
  private readonly bar = h('div', { class: 'bar' });
  private readonly text = h('span', { class: 'amount' });
  private readonly track: HTMLElement;

  /** `fills`: it is full in use, which is no warning. */
  constructor(label: string, colour: string, private readonly fills: boolean) {
    this.bar.classList.add(colour);
    this.track = h('div', { class: 'track', role: 'meter', 'aria-valuemin': 0, 'aria-valuemax': 100, 'aria-label': label }, this.bar);
    this.element = h('div', { class: 'meter' }, h('span', { class: 'name' }, label), this.text, this.track);
  }

  show(used: number, limit: number, format: (value: number) => string, peak?: number): void {
    const share = limit > 0 ? Math.min(1, used / limit) : 0;
    this.bar.style.width = `${share * 100}%`;
    this.track.setAttribute('aria-valuenow', String(Math.round(share * 100)));
    setText(this.text, `${format(used)} of ${format(limit)}${peak === undefined ? '' : `, peak ${format(peak)}`}`);
    this.element.classList.toggle('tight', share > 0.9 && !this.fills);
  }
}

const chart = (options: ConstructorParameters<typeof Chart>[0]): Chart => new Chart(options);

/** An address of the origin: whether requests go there, and how fast it answers. */
function address(of: OriginHealth['by_address'][number]): Fact {
  const aside = { used: 'in use', failing: 'set aside: it fails', slow: 'set aside: it is slow' }[of.state];
  const probe = of.probe_in_seconds === null ? '' : `, probed in ${span(of.probe_in_seconds)}`;
  const failures = of.failures > 0 && of.state === 'used' ? `, ${of.failures} failures in a row` : '';
  const usual = of.usual_seconds === null ? '' : `, answers in ${seconds(of.usual_seconds)}`;
  return [of.address, `${aside}${probe}${failures}${usual}`, { used: 'answers', failing: 'fails', slow: 'not_asked' }[of.state]];
}

/** Whether an origin answers, why not, and each of its addresses. */
function health(of: OriginHealth): Fact[] {
  const state = { answers: 'answers', fails: `fails for ${span(of.failing_seconds ?? 0)}`, not_asked: 'not asked yet' }[of.state];
  return [
    ['Endpoint', of.endpoint],
    ['State', state + (of.only_probed ? ', only probed' : ''), of.state],
    ['Reason', of.reason],
    ...of.by_address.map(address),
    ['Names', of.addresses_old],
  ];
}

export class Overview {
  readonly element = h('section', { id: 'overview', 'aria-label': 'Overview' });
  private readonly ratio = new Figure('Hit ratio, last minute');
  private readonly requests = new Figure('Requests');
  private readonly traffic = new Figure('To clients');
  private readonly latency = new Figure('Time to first byte');
  private readonly saved = new Figure('Saved');
  private readonly charts: Chart[];
  private readonly eventCharts: Chart[];
  private readonly meters = new Map<string, Meter>();
  private readonly full = h('div', { class: 'meters' });
  private readonly origin = h('dl', { class: 'facts' });
  private readonly named = new Map<string, HTMLElement>();
  private readonly origins = h('div', { class: 'panel' }, h('h2', {}, 'Origin'), this.origin);
  private readonly events = h('dl', { class: 'facts' });
  private readonly eventsGrid: HTMLElement;

  constructor() {
    const reads = chart({
      title: 'Requests',
      stacked: true,
      format: rate,
      lines: [
        { label: 'hit', colour: 'memory', value: (p) => p.hits },
        { label: 'partial', colour: 'disk', value: (p) => p.partial },
        { label: 'miss', colour: 'origin', value: (p) => p.misses },
        { label: 'passed through', colour: 'passed', value: (p) => p.bypass },
      ],
    });
    const tiers = chart({
      title: 'Bytes to clients',
      stacked: true,
      binary: true,
      format: flow,
      lines: [
        { label: 'memory', colour: 'memory', value: (p) => p.memory },
        { label: 'disk', colour: 'disk', value: (p) => p.disk },
        { label: 'origin', colour: 'origin', value: (p) => p.origin },
        { label: 'passed through', colour: 'passed', value: (p) => p.passthrough },
      ],
    });
    const ratio = chart({
      title: 'Hit ratio of reads',
      format: percent,
      most: 1,
      lines: [
        { label: 'by requests', colour: 'memory', value: (p) => p.hitRatio },
        { label: 'by bytes', colour: 'disk', value: (p) => p.byteRatio },
      ],
    });
    const latency = chart({
      title: 'Time to first byte',
      format: seconds,
      logarithmic: true,
      lines: [
        { label: 'p50', colour: 'memory', value: (p) => p.p50 },
        { label: 'p90', colour: 'disk', value: (p) => p.p90 },
        { label: 'p99', colour: 'origin', value: (p) => p.p99 },
      ],
    });
    const asked = chart({
      title: 'Requests to the origin',
      format: rate,
      lines: [
        { label: 'requests', colour: 'origin', value: (p) => p.originRequests },
        { label: 'failures', colour: 'bad', value: (p) => p.originErrors },
      ],
    });
    const answers = chart({
      title: 'Time to the origin’s first byte',
      format: seconds,
      logarithmic: true,
      lines: [
        { label: 'p50', colour: 'passed', value: (p) => p.originP50 },
        { label: 'p99', colour: 'origin', value: (p) => p.originP99 },
      ],
    });
    const occupancy = chart({
      title: 'Occupancy',
      format: percent,
      most: 1,
      lines: [
        { label: 'memory', colour: 'memory', value: (p) => p.memoryShare },
        { label: 'disk', colour: 'disk', value: (p) => p.diskShare },
        { label: 'in flight', colour: 'passed', value: (p) => p.inFlightShare },
      ],
    });
    const saved = chart({
      title: 'Not asked of the origin',
      format: flow,
      binary: true,
      lines: [{ label: 'bytes saved', colour: 'memory', value: (p) => p.savedBytes }],
    });
    this.charts = [reads, tiers, ratio, latency, asked, answers, occupancy, saved];
    this.eventCharts = [
      chart({ title: 'Events', format: rate, lines: [{ label: 'events', colour: 'origin', value: (p) => p.events }] }),
      chart({ title: 'Event lag', format: seconds, logarithmic: true, lines: [{ label: 'p99', colour: 'disk', value: (p) => p.lag }] }),
    ];
    const grid = (...charts: Chart[]): HTMLElement => h('div', { class: 'charts' }, ...charts.map((one) => one.element));
    this.eventsGrid = grid(...this.eventCharts);
    const figures = [this.ratio, this.requests, this.traffic, this.latency, this.saved];
    this.element.append(
      h('h2', { class: 'unseen' }, 'Overview'),
      h('dl', { class: 'figures' }, ...figures.map((figure) => figure.element)),
      grid(reads, tiers, ratio, latency),
      h('div', { class: 'split' }, this.origins, grid(asked, answers)),
      h('div', { class: 'split' }, h('div', { class: 'panel' }, h('h2', {}, 'Room and limits'), this.full), grid(occupancy, saved)),
      h('div', { class: 'split' }, h('div', { class: 'panel' }, h('h2', {}, 'Events'), this.events), this.eventsGrid),
    );
  }

  recolour(): void {
    for (const one of [...this.charts, ...this.eventCharts]) one.recolour();
  }

  show(history: History): void {
    const now = history.last;
    if (!now) return;
    this.showFigures(history, now);
    for (const one of this.charts) one.show(history.points);
    const hasEvents = now.events.receivers.length > 0 || now.events.lag.count > 0;
    this.eventsGrid.hidden = !hasEvents;
    if (hasEvents) for (const one of this.eventCharts) one.show(history.points);
    this.showOrigin(now);
    this.showRoom(now);
    this.showEvents(now);
  }

  private showFigures(history: History, now: Snapshot): void {
    const minute = history.minute();
    const from = history.minuteStart();
    const firstByte = (q: number): string => seconds(quantile(from?.first_byte ?? null, now.first_byte, q));
    this.ratio.show(percent(minute?.hitRatio ?? null), `${percent(minute?.byteRatio ?? null)} of bytes`);
    const all = minute ? minute.hits + minute.partial + minute.misses + minute.bypass : null;
    this.requests.show(rate(all), `${now.requests.in_flight} under way, ${now.requests.connections} connections`);
    const sent = minute ? minute.memory + minute.disk + minute.origin + minute.passthrough : null;
    this.traffic.show(flow(sent), `${flow(minute?.origin ?? null)} of it from the origin`);
    this.latency.show(firstByte(0.5), `p99 ${firstByte(0.99)}`);
    this.saved.show(
      bytes(now.saved.bytes),
      `${count(now.saved.requests)} reads, ${dollars(now.saved.dollars)} in ${span(now.uptime_seconds)}`,
    );
  }

  private showOrigin({ origin }: Snapshot): void {
    const failed = Object.entries(origin.errors).filter(([, value]) => value > 0);
    facts(this.origin, [
      ...health(origin.health),
      ['Failures', failed.map(([reason, value]) => `${reason} ${count(value)}`).join(', ') || 'none'],
      ['Retries', count(origin.retries)],
      ['Received', bytes(origin.received_bytes)],
      ['Keys expire', origin.credentials_expire === null ? null : `${moment(origin.credentials_expire)} UTC`],
    ]);
    for (const [name, of] of Object.entries(origin.health.named)) this.showNamed(name, of);
  }

  private showNamed(name: string, of: OriginHealth): void {
    let list = this.named.get(name);
    if (!list) {
      list = h('dl', { class: 'facts' });
      this.named.set(name, list);
      this.origins.append(h('h3', {}, `Origin ${name}`), list);
    }
    facts(list, health(of));
  }

  private showRoom(now: Snapshot): void {
    const meter = (label: string, colour: string, used: number, limit: number, format: (v: number) => string, peak?: number): void => {
      let known = this.meters.get(label);
      if (!known) {
        known = new Meter(label, colour, colour === 'memory' || colour === 'disk');
        this.meters.set(label, known);
        this.full.append(known.element);
      }
      known.show(used, limit, format, peak);
    };
    meter('Memory', 'memory', now.memory.bytes, now.memory.capacity_bytes, bytes);
    if (now.memory.limit_bytes > 0) meter('Memory of the process', 'passed', now.memory.used_bytes, now.memory.limit_bytes, bytes);
    const paths = now.disk.paths;
    const measured = paths.every((path) => path.bytes !== undefined);
    if (measured || paths.length === 1) {
      for (const path of paths) meter(path.path, 'disk', path.bytes ?? now.disk.bytes, path.capacity_bytes, bytes);
    } else {
      meter(`${paths.length} disks`, 'disk', now.disk.bytes, paths.reduce((all, path) => all + path.capacity_bytes, 0), bytes);
    }
    for (const limit of now.limits) {
      meter(limit.key, 'origin', limit.used, limit.limit, limit.unit === 'bytes' ? bytes : count, limit.peak);
    }
  }

  private showEvents({ events, time }: Snapshot): void {
    const rows: Fact[] = events.receivers.map((one) => [`${one.source} ${one.name}`, one.up ? 'connected' : 'not connected', one.up ? 'answers' : 'fails']);
    if (rows.length === 0) rows.push(['Receivers', 'none set: objects are fresh as long as the ttl of their rule']);
    for (const [source, at] of Object.entries(events.last)) rows.push([`Last from ${source}`, `${span(Math.max(0, time - at))} ago`]);
    for (const [name, waiting] of Object.entries(events.queued)) rows.push([`Waiting in ${name}`, count(waiting)]);
    for (const { rule, buckets } of events.trust) {
      rows.push([`Rule ${rule}`, buckets.length > 0 ? `trusted in ${buckets.join(', ')}` : 'trusted in no bucket: its ttl applies', buckets.length > 0 ? 'answers' : 'not_asked']);
    }
    rows.push(['Invalidated', `${count(events.invalidations)} objects`]);
    facts(this.events, rows);
  }
}
