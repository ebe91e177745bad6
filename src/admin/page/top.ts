// The hottest names now: objects, prefixes, identities or addresses, by an amount.

import { ask, type Top } from './api';
import { field, h, setRows, setText, table } from './dom';
import { bytes, count, percent } from './format';

const KINDS = ['objects', 'prefixes', 'identities', 'addresses'];
const AMOUNTS = ['requests', 'bytes', 'misses', 'errors'];

const choice = (id: string, values: string[], change: () => void): HTMLSelectElement =>
  h('select', { id, change }, ...values.map((value) => h('option', { value }, value)));

export class Hottest {
  readonly element: HTMLElement;
  private readonly of = choice('top-of', KINDS, () => void this.refresh());
  private readonly by = choice('top-by', AMOUNTS, () => void this.refresh());
  private readonly rows: HTMLElement;
  private readonly frame: HTMLElement;
  private readonly worth = h('p', { class: 'hint', role: 'status' });

  constructor() {
    const { frame, body } = table('Hottest names', ['Name', 'Now', 'Share']);
    this.rows = body;
    this.frame = frame;
    this.element = h(
      'div',
      { class: 'panel wide' },
      h('h2', {}, 'Hottest now'),
      h('div', { class: 'row' }, field('Names', this.of), field('By', this.by)),
      this.worth,
      frame,
    );
  }

  async refresh(): Promise<void> {
    const [of, by] = [this.of.value, this.by.value];
    const top = await ask<Top>('GET', `/api/v1/top?of=${of}&by=${by}`);
    // Another one may have been chosen meanwhile.
    if (of === this.of.value && by === this.by.value) this.show(top);
  }

  private show(top: Top): void {
    const rate = (value: number): string => `${top.by === 'bytes' ? bytes(value) : count(value)}/s`;
    this.frame.hidden = top.entries.length === 0;
    setRows(this.rows, top.entries.map((entry) => h(
      'tr',
      { role: 'row' },
      h('th', { scope: 'row', role: 'rowheader', class: 'key' }, entry.name),
      h('td', { role: 'cell', class: 'nowrap' }, rate(entry.per_second)),
      h('td', { role: 'cell', class: 'nowrap' }, percent(entry.share)),
    )));
    const sampled = top.sampled_one_in > 1 ? ` One request of ${top.sampled_one_in} is counted.` : '';
    setText(this.worth, top.entries.length === 0
      ? 'Nothing in the last minutes.'
      : `Weights halve every ${top.half_life_seconds} s; no number is too large by more than ${percent(top.error_share)} of all.${sampled}`);
  }
}
