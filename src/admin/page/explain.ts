// Looking up one object or one request: what the cache has of it, and what the next read does.

import { ask, Refused } from './api';
import { facts, field, h, setText, type Fact } from './dom';
import { bytes, span } from './format';

interface Place {
  bytes: number;
  ranges: string[];
}

interface Explained {
  object?: string;
  rule?: { number: number; of: number; match: string; freshness: unknown; because: string };
  state?: string;
  version?: { size: number; etag: string; version_id: string | null } | null;
  freshness?: { age_seconds: number; fresh_until: string | null; because: string; confirmed_by: string } | null;
  blocks?: { memory: Place; disks: (Place & { path?: string })[]; in_flight: Place } | null;
  last_invalidation?: Record<string, unknown> | null;
  next_read?: string;
  request?: { request: string; answered_from_cache: boolean; because: string };
}

export class Explain {
  readonly element: HTMLElement;
  private readonly what = h('input', { type: 'text', id: 'explain-what', autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off', required: true });
  private readonly result = h('p', { class: 'result', role: 'status' });
  private readonly found = h('dl', { class: 'facts' });

  constructor() {
    const form = h(
      'form',
      { submit: (event) => void this.look(event) },
      field('Object or request', this.what, 's3://bucket/key, or GET /bucket/key?query'),
      h('div', { class: 'actions' }, h('button', { type: 'submit' }, 'Explain')),
    );
    this.element = h(
      'div',
      { class: 'panel wide' },
      h('h2', {}, 'Explain'),
      h('p', { class: 'hint' }, 'Why it is a hit or a miss: its rule, version and freshness, where its bytes are, and what the next read does.'),
      form,
      this.result,
      this.found,
    );
  }

  private async look(event: Event): Promise<void> {
    event.preventDefault();
    const what = this.what.value.trim();
    const name = /^[A-Z]+ \//.test(what) ? 'request' : 'object';
    const value = name === 'object' && !what.startsWith('s3://') ? `s3://${what}` : what;
    try {
      const explained = await ask<Explained>('GET', `/api/v1/explain?${name}=${encodeURIComponent(value)}`);
      setText(this.result, '');
      facts(this.found, rows(explained));
    } catch (error) {
      facts(this.found, []);
      setText(this.result, error instanceof Refused ? error.message : String(error));
    }
  }
}

function place({ bytes: size, ranges }: Place): string {
  if (size === 0) return 'nothing';
  const more = ranges.length > 4 ? ` and ${ranges.length - 4} more` : '';
  return `${bytes(size)}: bytes ${ranges.slice(0, 4).join(', ')}${more}`;
}

function rows(of: Explained): Fact[] {
  const { version, freshness, blocks, request } = of;
  const good = request?.answered_from_cache ?? of.state === 'fresh';
  return [
    ['Request', request?.request ?? null],
    ['From the cache', request ? `${request.answered_from_cache ? 'yes' : 'no'}: ${request.because}` : null, good ? 'answers' : 'not_asked'],
    ['Object', of.object ?? null],
    ['State', of.state ?? null, of.state === 'fresh' ? 'answers' : 'not_asked'],
    ['Next read', of.next_read ?? null],
    ['Rule', of.rule ? `${of.rule.number} of ${of.rule.of}: ${of.rule.match}, ${text(of.rule.freshness)}; ${of.rule.because}` : null],
    ['Version', version ? `${bytes(version.size)}, ETag ${version.etag}${version.version_id ? `, version ${version.version_id}` : ''}` : null],
    ['Fresh', freshness ? `${freshness.because}; confirmed ${span(freshness.age_seconds)} ago by ${freshness.confirmed_by}` : null],
    ['In memory', blocks ? place(blocks.memory) : null],
    ...(blocks?.disks ?? []).map((disk): Fact => ['On disk', `${disk.path ? `${disk.path}: ` : ''}${place(disk)}`]),
    ['In flight', blocks && blocks.in_flight.bytes > 0 ? place(blocks.in_flight) : null],
    ['Invalidated', of.last_invalidation ? words(of.last_invalidation) : null],
  ];
}

/** An object's fields, as they are called. */
function words(of: Record<string, unknown>): string {
  return Object.entries(of).filter(([, value]) => value !== null)
    .map(([name, value]) => `${name.replaceAll('_', ' ')} ${text(value)}`).join(', ');
}

function text(value: unknown): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
