// The effective configuration: what is set, what is a default.

import { ask, Refused, type Setting } from './api';
import { h, setText, table } from './dom';

export class Settings {
  readonly element = h('section', { id: 'configuration', 'aria-label': 'Configuration' });
  private readonly rows: HTMLElement;
  private readonly found = h('p', { class: 'hint', role: 'status' });
  private readonly filter = h('input', { type: 'search', id: 'filter', autocomplete: 'off', spellcheck: 'false', input: () => this.draw() });
  private readonly onlySet = h('input', { type: 'checkbox', id: 'only-set', change: () => this.draw() });
  private settings: Setting[] = [];

  constructor() {
    const { frame, body } = table('Effective configuration', ['Key', 'Value', '']);
    this.rows = body;
    this.element.append(
      h('h2', {}, 'Effective configuration'),
      h('p', { class: 'hint' }, 'The file with the environment over it. Secrets are hidden.'),
      h(
        'div',
        { class: 'row' },
        h('div', { class: 'field' }, h('label', { for: 'filter' }, 'Filter'), this.filter),
        h('label', { class: 'check', for: 'only-set' }, this.onlySet, 'Only what is set'),
      ),
      this.found,
      frame,
    );
  }

  async load(): Promise<void> {
    try {
      this.settings = (await ask<{ settings: Setting[] }>('GET', '/api/v1/config')).settings;
      this.draw();
    } catch (error) {
      setText(this.found, error instanceof Refused ? error.message : String(error));
    }
  }

  private draw(): void {
    const wanted = this.filter.value.trim().toLowerCase();
    const shown = this.settings.filter((setting) => !(this.onlySet.checked && setting.is_default)
      && `${setting.key} ${text(setting.value)}`.toLowerCase().includes(wanted));
    this.rows.replaceChildren(...shown.map((setting) => h(
      'tr',
      { role: 'row', class: setting.is_default ? '' : 'set' },
      h('th', { scope: 'row', role: 'rowheader', class: 'key' }, setting.key),
      h('td', { role: 'cell', class: 'key' }, text(setting.value)),
      h('td', { role: 'cell', class: 'nowrap' }, h('span', { class: setting.is_default ? 'mark' : 'mark is-set' }, setting.is_default ? 'default' : 'set')),
    )));
    setText(this.found, `${shown.length} of ${this.settings.length} keys`);
  }
}

function text(value: unknown): string {
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) return value.length > 0 ? value.map(text).join(', ') : '[]';
  return JSON.stringify(value);
}
