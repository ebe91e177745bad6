// The last requests that failed, and why.

import type { RecentError, Snapshot } from './api';
import { h, setRows, setText, table } from './dom';
import { count, moment } from './format';

export class Errors {
  readonly element = h('section', { id: 'errors', 'aria-label': 'Errors' });
  private readonly rows: HTMLElement;
  private readonly empty = h('p', { class: 'empty' }, 'No request has failed since the start.');
  private readonly frame: HTMLElement;
  private readonly refused = h('p', { class: 'hint' });

  constructor() {
    const { frame, body } = table('Recent errors', ['Time (UTC)', 'Status', 'Code', 'Request', 'Who', 'Reason']);
    this.frame = frame;
    this.rows = body;
    this.element.append(
      h('h2', {}, 'Recent errors'),
      h('p', { class: 'hint' }, 'The last 50 of the server (5xx) and the last 50 of clients (4xx, without 404, 412 and 416).'),
      this.refused,
      this.empty,
      frame,
    );
  }

  show({ errors, requests }: Snapshot): void {
    this.empty.hidden = errors.length > 0;
    this.frame.hidden = errors.length === 0;
    setRows(this.rows, errors.map(row));
    const refused = Object.entries(requests.refused).filter(([, value]) => value > 0);
    this.refused.hidden = refused.length === 0;
    setText(this.refused, `Refused before they were requests: ${refused.map(([reason, value]) => `${reason} ${count(value)}`).join(', ')}.`);
  }
}

function row(error: RecentError): HTMLElement {
  return h(
    'tr',
    { role: 'row' },
    h('td', { role: 'cell', class: 'nowrap' }, moment(error.time).slice(5)),
    h('td', { role: 'cell' }, h('span', { class: error.status >= 400 && error.status < 500 ? 'status client' : 'status server' }, error.status === 0 ? 'none' : String(error.status))),
    h('td', { role: 'cell' }, error.code ?? ''),
    h('td', { role: 'cell', class: 'key' }, `${error.method} ${error.path}`, h('span', { class: 'sub' }, `${error.operation} · ${error.request_id}`)),
    h('td', { role: 'cell', class: 'key' }, error.identity ?? '', h('span', { class: 'sub' }, error.client ?? '')),
    h('td', { role: 'cell' }, error.reason),
  );
}
