// Objects: the hottest, one explained, and steering by hand: purge, and warm.

import { ask, Refused, type Job, type Purged } from './api';
import { field, h, setText } from './dom';
import { Explain } from './explain';
import { bytes, count } from './format';
import { Hottest } from './top';

const why = (error: unknown): string => (error instanceof Refused ? error.message : String(error));
const s3 = (text: string): string => (text.startsWith('s3://') ? text : `s3://${text}`);

const SCOPES: Record<string, { label: string; hint: string; body: (text: string) => object }> = {
  keys: { label: 'Objects', hint: 's3://bucket/key, one a line', body: (text) => ({ keys: lines(text).map(s3) }) },
  prefix: { label: 'Prefix', hint: 's3://bucket/prefix', body: (text) => ({ prefix: s3(text.trim()) }) },
  glob: { label: 'Glob', hint: 's3://bucket/a/*.csv', body: (text) => ({ glob: s3(text.trim()) }) },
  bucket: { label: 'Bucket', hint: 'the name of the bucket', body: (text) => ({ bucket: text.trim() }) },
  everything: { label: 'Everything', hint: '', body: () => ({ everything: true }) },
};

const lines = (text: string): string[] => text.split('\n').map((line) => line.replace(/\r$/, '')).filter((line) => line.trim() !== '');

class Purge {
  readonly element: HTMLElement;
  private readonly scope = h('select', { id: 'purge-scope', change: () => this.rescope() });
  private readonly what = h('textarea', { id: 'purge-what', rows: 2, spellcheck: 'false', autocapitalize: 'off' });
  private readonly erase = h('input', { type: 'checkbox', id: 'purge-erase' });
  private readonly field = field('What', this.what, ' ');
  private readonly result = h('p', { class: 'result', role: 'status' });
  private readonly preview = h('button', { type: 'submit' }, 'Preview');
  private readonly dialog = h('dialog', { 'aria-labelledby': 'purge-title' });

  constructor() {
    this.scope.append(...Object.entries(SCOPES).map(([value, { label }]) => h('option', { value }, label)));
    const form = h(
      'form',
      { submit: (event) => void this.look(event) },
      field('Scope', this.scope),
      this.field,
      h('label', { class: 'check', for: 'purge-erase' }, this.erase, 'Erase the bytes from memory and disks, too'),
      h('div', { class: 'actions' }, this.preview),
    );
    this.element = h(
      'div',
      { class: 'panel' },
      h('h2', {}, 'Purge'),
      h('p', { class: 'hint' }, 'What is purged is fetched again on its next read, at all replicas. The preview changes nothing.'),
      form,
      this.result,
      this.dialog,
    );
    this.rescope();
  }

  private rescope(): void {
    const scope = SCOPES[this.scope.value];
    this.field.hidden = this.scope.value === 'everything';
    const hint = this.field.querySelector('.hint');
    if (hint) setText(hint, scope?.hint ?? '');
  }

  private async look(event: Event): Promise<void> {
    event.preventDefault();
    const scope = SCOPES[this.scope.value];
    if (!scope) return;
    const body = { ...scope.body(this.what.value), erase: this.erase.checked };
    this.preview.disabled = true;
    setText(this.result, '');
    try {
      const found = await ask<Purged>('POST', '/api/v1/purge', { ...body, dry_run: true });
      this.confirm(body, found);
    } catch (error) {
      setText(this.result, why(error));
    } finally {
      this.preview.disabled = false;
    }
  }

  private confirm(body: { everything?: boolean; erase: boolean }, found: Purged): void {
    const all = body.everything === true;
    const word = h('input', { type: 'text', id: 'purge-word', autocomplete: 'off', spellcheck: 'false' });
    const go = h('button', { type: 'submit', class: 'danger' }, body.erase ? 'Purge and erase' : 'Purge');
    if (all) {
      go.disabled = true;
      word.addEventListener('input', () => { go.disabled = word.value !== 'everything'; });
    }
    const known = found.known ?? { objects: 0, bytes: 0 };
    const form = h(
      'form',
      { submit: (event) => { event.preventDefault(); void this.purge(body, go); } },
      h('h2', { id: 'purge-title' }, 'Purge this?'),
      h('ul', { class: 'keys' }, ...found.scopes.slice(0, 20).map((scope) => h('li', { class: 'key' }, scope))),
      h('p', {}, `Memory knows ${count(known.objects)} objects of it, ${bytes(known.bytes)}.`
        + (found.disk_bytes === undefined ? '' : ` Files of ${bytes(found.disk_bytes)} are looked through.`)),
      all ? field('Type “everything” to go on', word) : null,
      h('div', { class: 'actions' }, h('button', { type: 'button', click: () => this.dialog.close() }, 'Cancel'), go),
    );
    this.dialog.replaceChildren(form);
    this.dialog.showModal();
  }

  private async purge(body: object, button: HTMLButtonElement): Promise<void> {
    button.disabled = true;
    setText(button, 'Purging …');
    try {
      const done = await ask<Purged>('POST', '/api/v1/purge', body);
      const erased = done.erased ? ` Erased ${bytes(done.erased.memory_bytes)} of memory and ${bytes(done.erased.disk_bytes)} of disks.` : '';
      const missing = done.unreachable_replicas?.length ? ` Not reached: ${done.unreachable_replicas.join(', ')}.` : '';
      const first = done.scopes[0] ?? '';
      setText(this.result, `Purged ${first}${done.scopes.length > 1 ? ` and ${done.scopes.length - 1} more` : ''}.${erased}${missing}`);
    } catch (error) {
      setText(this.result, why(error));
    }
    this.dialog.close();
  }
}

class Warm {
  readonly element: HTMLElement;
  private readonly what = h('textarea', { id: 'warm-what', rows: 2, spellcheck: 'false', autocapitalize: 'off' });
  private readonly rate = h('input', { type: 'text', id: 'warm-rate', placeholder: 'no limit', autocomplete: 'off' });
  private readonly dry = h('input', { type: 'checkbox', id: 'warm-dry' });
  private readonly result = h('p', { class: 'result', role: 'status' });
  private readonly jobs = h('ul', { class: 'jobs', 'aria-label': 'Warm jobs' });
  private readonly rows = new Map<string, JobRow>();

  constructor() {
    const form = h(
      'form',
      { submit: (event) => void this.begin(event) },
      field('What', this.what, 's3://bucket/prefix, or objects, one a line; a line that ends in / or names a bucket is a prefix'),
      field('Rate', this.rate, 'bytes a second: 50MiB'),
      h('label', { class: 'check', for: 'warm-dry' }, this.dry, 'Only count what would be fetched'),
      h('div', { class: 'actions' }, h('button', { type: 'submit' }, 'Warm')),
    );
    this.element = h(
      'div',
      { class: 'panel' },
      h('h2', {}, 'Warm'),
      h('p', { class: 'hint' }, 'Reads objects into the cache, behind its readers.'),
      form,
      this.result,
      this.jobs,
    );
  }

  private async begin(event: Event): Promise<void> {
    event.preventDefault();
    const what = lines(this.what.value).map(s3);
    const first = what[0] ?? '';
    const isPrefix = what.length === 1 && (first.endsWith('/') || !first.slice('s3://'.length).includes('/'));
    const rate = this.rate.value.trim();
    const body = { ...(isPrefix ? { prefix: first } : { keys: what }), ...(rate ? { rate } : {}), dry_run: this.dry.checked };
    try {
      const job = await ask<Job>('POST', '/api/v1/warm', body);
      setText(this.result, `Job ${job.id} runs.`);
      await this.refresh();
    } catch (error) {
      setText(this.result, why(error));
    }
  }

  async refresh(): Promise<void> {
    const { jobs } = await ask<{ jobs: Job[] }>('GET', '/api/v1/warm');
    for (const [id, row] of this.rows) {
      if (jobs.some((job) => job.id === id)) continue;
      row.element.remove();
      this.rows.delete(id);
    }
    for (const job of jobs) {
      let row = this.rows.get(job.id);
      if (!row) {
        row = new JobRow(job.id, () => void this.cancel(job.id));
        this.rows.set(job.id, row);
        this.jobs.prepend(row.element);
      }
      row.show(job);
    }
  }

  private async cancel(id: string): Promise<void> {
    try {
      await ask('DELETE', `/api/v1/warm/${encodeURIComponent(id)}`);
      await this.refresh();
    } catch (error) {
      setText(this.result, why(error));
    }
  }
}

/** One job; updated in place, so that the focus stays where it is. */
class JobRow {
  readonly element: HTMLElement;
  private readonly bar = h('div', { class: 'bar memory' });
  private readonly track: HTMLElement;
  private readonly text = h('span', { class: 'amount' });
  private readonly state = h('span', { class: 'name' });
  private readonly failures = h('ul', { class: 'keys' });
  private readonly cancel: HTMLButtonElement;

  constructor(id: string, cancel: () => void) {
    this.track = h('div', { class: 'track', role: 'progressbar', 'aria-label': `Warm job ${id}`, 'aria-valuemin': 0, 'aria-valuemax': 100 }, this.bar);
    this.cancel = h('button', { type: 'button', click: cancel, 'aria-label': `Cancel job ${id}` }, 'Cancel');
    this.element = h('li', {}, h('div', { class: 'meter' }, this.state, this.text, this.track), this.cancel, this.failures);
  }

  show(job: Job): void {
    const { objects, bytes: of } = job;
    const running = job.state === 'running';
    const share = of.found > 0 ? Math.min(1, of.warm / of.found) : running ? 0 : 1;
    this.bar.style.width = `${share * 100}%`;
    this.track.setAttribute('aria-valuenow', String(Math.round(share * 100)));
    const waits = job.waits_for ? `, waits for ${job.waits_for}` : '';
    const limited = job.limited_by ? `, ended by ${job.limited_by}` : '';
    setText(this.state, `${job.dry_run ? 'count' : 'warm'} ${job.id.slice(0, 8)}: ${job.state}${waits}${limited}${job.error ? `: ${job.error}` : ''}`);
    setText(this.text, `${count(objects.warmed)} of ${count(objects.found)}${job.complete ? '' : '+'} objects, ${bytes(of.warm)} of ${bytes(of.found)}`
      + (objects.failed > 0 ? `, ${count(objects.failed)} failed` : '') + (objects.skipped > 0 ? `, ${count(objects.skipped)} skipped` : ''));
    this.cancel.hidden = !running;
    const failed = job.failures.slice(0, 5).map(({ object, error }) => h('li', { class: 'key' }, `${object}: ${error}`));
    if (failed.length !== this.failures.children.length) this.failures.replaceChildren(...failed);
  }
}

export class Objects {
  readonly element = h('section', { id: 'objects', 'aria-label': 'Objects' });
  private readonly warm = new Warm();
  private readonly hottest = new Hottest();

  constructor() {
    this.element.append(
      h('h2', { class: 'unseen' }, 'Objects'),
      h('div', { class: 'pair' }, this.hottest.element, new Explain().element, new Purge().element, this.warm.element),
    );
  }

  async refresh(): Promise<void> {
    await Promise.all([this.warm.refresh(), this.hottest.refresh()]);
  }
}
