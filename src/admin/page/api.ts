// The admin API: JSON in, JSON out, with the token of this tab's session.

export type ByLabel = Record<string, number>;

export interface Histogram {
  le: (number | null)[];
  cumulative: number[];
  sum: number;
  count: number;
}

export interface RecentError {
  time: number;
  status: number;
  code: string | null;
  method: string;
  path: string;
  operation: string;
  client: string | null;
  identity: string | null;
  reason: string;
  request_id: string;
}

export interface Limit {
  key: string;
  unit: string;
  used: number;
  /** The most since the start. */
  peak: number;
  limit: number;
}

/** The health of one origin. */
export interface OriginHealth {
  endpoint: string;
  state: 'not_asked' | 'answers' | 'fails';
  failing_seconds: number | null;
  reason: string | null;
  only_probed: boolean;
  addresses: string[];
  by_address: {
    address: string;
    state: 'used' | 'failing' | 'slow';
    failures: number;
    probe_in_seconds: number | null;
    usual_seconds: number | null;
  }[];
  addresses_old: string | null;
}

/** `GET /api/v1/stats`. */
export interface Snapshot {
  time: number;
  uptime_seconds: number;
  version: string;
  requests: {
    total: number;
    by_cache: ByLabel;
    by_status: ByLabel;
    in_flight: number;
    connections: number;
    refused: ByLabel;
    coalesced: number;
  };
  reads: ByLabel;
  bytes: ByLabel;
  saved: { requests: number; bytes: number; dollars: number };
  first_byte: Histogram;
  duration: Histogram;
  origin: {
    /** Of the default origin, and of the others by name. */
    health: OriginHealth & { named: Record<string, OriginHealth> };
    requests: number;
    by_outcome: ByLabel;
    errors: ByLabel;
    retries: number;
    received_bytes: number;
    first_byte: Histogram;
    credentials_expire: number | null;
  };
  events: {
    receivers: { source: string; name: string; up: boolean }[];
    by_result: ByLabel;
    last: ByLabel;
    queued: ByLabel;
    lag: Histogram;
    trust: { rule: string; buckets: string[] }[];
    invalidations: number;
  };
  memory: {
    bytes: number;
    capacity_bytes: number;
    blocks: number;
    objects: number;
    used_bytes: number;
    limit_bytes: number;
  };
  disk: {
    paths: { path: string; capacity_bytes: number; bytes?: number }[];
    bytes: number;
    blocks: number;
    objects: number;
    queued_bytes: number;
    failures: ByLabel;
    segments_reclaimed: number;
  };
  limits: Limit[];
  errors: RecentError[];
}

/** `GET /api/v1/top`. */
export interface Top {
  of: string;
  by: string;
  half_life_seconds: number;
  sampled_one_in: number;
  per_second: number;
  error_share: number;
  entries: { name: string; per_second: number; share: number; error_per_second: number }[];
}

export interface Job {
  id: string;
  state: string;
  dry_run: boolean;
  complete: boolean;
  objects: { found: number; warmed: number; skipped: number; failed: number };
  bytes: { found: number; warm: number; fetched: number };
  waits_for: string | null;
  limited_by: string | null;
  error: string | null;
  failures: { object: string; error: string }[];
}

export interface Purged {
  scopes: string[];
  known?: { objects: number; bytes: number };
  disk_bytes?: number;
  erased?: { memory_bytes: number; disk_bytes: number };
  unreachable_replicas?: string[];
}

export interface Setting {
  key: string;
  value: unknown;
  is_default: boolean;
}

/** The server said no, or nothing; status 0: it could not be reached. */
export class Refused extends Error {
  constructor(readonly status: number, why: string) {
    super(why);
  }
}

const KEY = 'hotset-token';
const TIMEOUT = 30_000;
let token: string | null = read();

function read(): string | null {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

/** Keeps the token for as long as this tab is open; `null` forgets it. */
export function setToken(value: string | null): void {
  token = value;
  try {
    if (value === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, value);
  } catch {
    // A browser that keeps nothing asks again after a reload.
  }
}

export function hasToken(): boolean {
  return token !== null;
}

export async function ask<T>(method: string, path: string, body?: unknown): Promise<T> {
  const headers: Record<string, string> = {};
  if (token !== null) headers['Authorization'] = `Bearer ${token}`;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let answer: Response;
  try {
    answer = await fetch(path, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      credentials: 'omit',
      cache: 'no-store',
      signal: AbortSignal.timeout(TIMEOUT),
    });
  } catch {
    throw new Refused(0, 'hotset does not answer');
  }
  const json: unknown = await answer.json().catch(() => null);
  if (answer.ok) return json as T;
  const why = (json as { error?: unknown } | null)?.error;
  throw new Refused(answer.status, typeof why === 'string' ? why : `hotset answers ${answer.status}`);
}

/** Whether this release has a route; one that is missing hides its section. */
export async function has(path: string): Promise<boolean> {
  try {
    await ask('GET', path);
    return true;
  } catch (error) {
    return error instanceof Refused && error.status === 400;
  }
}
