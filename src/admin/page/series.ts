// What is drawn: rates and percentiles between two snapshots, kept for a while.

import type { ByLabel, Histogram, Snapshot } from './api';

/** Points that are kept: a quarter of an hour. */
export const KEPT = 450;
export const EVERY_SECONDS = 2;

const sum = (of: ByLabel, labels: string[]): number => labels.reduce((total, label) => total + (of[label] ?? 0), 0);
const all = (of: ByLabel): number => Object.values(of).reduce((total, value) => total + value, 0);

/** Hits as the hit ratio counts them: answers that no byte of the origin was needed for. */
const HITS = ['hit', 'stale', 'negative', 'revalidated'];

/** The quantile of what was observed between two states of a histogram, interpolated; `null`: nothing was. */
export function quantile(from: Histogram | null, to: Histogram, q: number): number | null {
  const at = (index: number): number => (to.cumulative[index] ?? 0) - (from?.cumulative[index] ?? 0);
  const last = to.cumulative.length - 1;
  const total = at(last);
  if (last < 0 || total <= 0) return null;
  const rank = q * total;
  for (let index = 0; index <= last; index += 1) {
    if (at(index) < rank) continue;
    const below = index > 0 ? to.le[index - 1] ?? 0 : 0;
    const above = to.le[index] ?? null;
    if (above === null) return below;
    const before = index > 0 ? at(index - 1) : 0;
    return below + (above - below) * ((rank - before) / (at(index) - before));
  }
  return null;
}

export interface Point {
  time: number;
  hits: number;
  partial: number;
  misses: number;
  bypass: number;
  memory: number;
  disk: number;
  origin: number;
  passthrough: number;
  hitRatio: number | null;
  byteRatio: number | null;
  p50: number | null;
  p90: number | null;
  p99: number | null;
  originRequests: number;
  originErrors: number;
  originP50: number | null;
  originP99: number | null;
  events: number;
  lag: number | null;
  memoryShare: number | null;
  diskShare: number | null;
  inFlightShare: number | null;
  savedRequests: number;
  savedBytes: number;
}

const share = (part: number, whole: number): number | null => (whole > 0 ? part / whole : null);

/** What happened between two snapshots, by the second. */
export function between(from: Snapshot, to: Snapshot): Point {
  const elapsed = to.uptime_seconds - from.uptime_seconds;
  const rate = (after: number, before: number): number => Math.max(0, after - before) / elapsed;
  const of = (pick: (s: Snapshot) => number): number => rate(pick(to), pick(from));
  const hits = of((s) => sum(s.reads, HITS));
  const reads = of((s) => all(s.reads));
  const memory = of((s) => sum(s.bytes, ['memory']));
  const disk = of((s) => sum(s.bytes, ['disk']));
  const origin = of((s) => sum(s.bytes, ['origin']));
  const inFlight = to.limits.find((limit) => limit.key === 'cache.in_flight');
  return {
    time: to.time,
    hits: of((s) => sum(s.requests.by_cache, HITS)),
    partial: of((s) => sum(s.requests.by_cache, ['partial'])),
    misses: of((s) => sum(s.requests.by_cache, ['miss'])),
    bypass: of((s) => sum(s.requests.by_cache, ['bypass'])),
    memory,
    disk,
    origin,
    passthrough: of((s) => sum(s.bytes, ['passthrough'])),
    hitRatio: share(hits, reads),
    byteRatio: share(memory + disk, memory + disk + origin),
    p50: quantile(from.first_byte, to.first_byte, 0.5),
    p90: quantile(from.first_byte, to.first_byte, 0.9),
    p99: quantile(from.first_byte, to.first_byte, 0.99),
    originRequests: of((s) => s.origin.requests),
    originErrors: of((s) => all(s.origin.errors)),
    originP50: quantile(from.origin.first_byte, to.origin.first_byte, 0.5),
    originP99: quantile(from.origin.first_byte, to.origin.first_byte, 0.99),
    events: of((s) => all(s.events.by_result)),
    lag: quantile(from.events.lag, to.events.lag, 0.99),
    memoryShare: share(to.memory.bytes, to.memory.capacity_bytes),
    diskShare: share(to.disk.bytes, to.disk.paths.reduce((total, path) => total + path.capacity_bytes, 0)),
    inFlightShare: inFlight ? share(inFlight.used, inFlight.limit) : null,
    savedRequests: of((s) => s.saved.requests),
    savedBytes: of((s) => s.saved.bytes),
  };
}

/** The last snapshots, and the points between them. */
export class History {
  readonly points: Point[] = [];
  private snapshots: Snapshot[] = [];

  get last(): Snapshot | undefined {
    return this.snapshots.at(-1);
  }

  add(snapshot: Snapshot): void {
    const last = this.last;
    if (last && snapshot.uptime_seconds <= last.uptime_seconds) {
      // It was restarted: its counters begin anew.
      this.snapshots = [];
    } else if (last) {
      this.points.push(between(last, snapshot));
      if (this.points.length > KEPT) this.points.shift();
    }
    this.snapshots.push(snapshot);
    if (this.snapshots.length > 31) this.snapshots.shift();
  }

  /** The last minute, or as much of it as there is. */
  minute(): Point | null {
    const last = this.last;
    if (!last) return null;
    const from = this.snapshots.find((s) => last.uptime_seconds - s.uptime_seconds <= 60);
    return from && from !== last ? between(from, last) : null;
  }

  /** What happened in the last minute, as it is counted: for histograms. */
  minuteStart(): Snapshot | null {
    const last = this.last;
    return (last && this.snapshots.find((s) => last.uptime_seconds - s.uptime_seconds <= 60)) ?? null;
  }
}
