// The page of the admin port: views, the sign-in, and the loop that asks for snapshots.

import { ask, hasToken, Refused, setToken, type Snapshot } from './api';
import { field, h, setText } from './dom';
import { Errors } from './errors';
import { span, percent } from './format';
import { Objects } from './objects';
import { Overview } from './overview';
import { EVERY_SECONDS, History } from './series';
import { Settings } from './settings';

const VIEWS = { overview: 'Overview', objects: 'Objects', errors: 'Errors', configuration: 'Configuration' };
type View = keyof typeof VIEWS;

class Page {
  private readonly history = new History();
  private readonly overview = new Overview();
  private readonly objects = new Objects();
  private readonly errors = new Errors();
  private readonly settings = new Settings();
  private readonly health = h('p', { class: 'health', role: 'status' }, 'connecting');
  private readonly about = h('p', { class: 'about' });
  private readonly notice = h('p', { class: 'notice', role: 'alert', hidden: true });
  private readonly links = new Map<View, HTMLElement>();
  private readonly badge = h('span', { class: 'badge', hidden: true });
  private readonly pause = h('button', { type: 'button', class: 'quiet', 'aria-pressed': 'false', click: () => this.setPaused(!this.paused) }, 'Pause');
  private readonly leave = h('button', { type: 'button', class: 'quiet', click: () => this.signIn(''), hidden: true }, 'Sign out');
  private readonly main = h('main', { id: 'main', tabindex: -1 });
  private readonly shell: HTMLElement;
  private paused = false;
  private turn = 0;

  constructor() {
    const theme = h('button', { type: 'button', class: 'quiet', click: () => this.nextTheme(theme) }, 'Auto');
    theme.setAttribute('aria-label', 'Theme: auto');
    const navigation = h('nav', { 'aria-label': 'Views' });
    for (const [view, label] of Object.entries(VIEWS) as [View, string][]) {
      const link = h('a', { href: `#${view}` }, label, view === 'errors' ? this.badge : null);
      this.links.set(view, link);
      navigation.append(link);
    }
    this.shell = h(
      'div',
      { class: 'shell' },
      h('a', { class: 'skip', href: '#main', click: (event) => { event.preventDefault(); this.main.focus(); } }, 'Skip to the content'),
      h(
        'header',
        {},
        h('div', { class: 'brand' }, h('img', { src: 'icon.svg', alt: '', width: 26, height: 26 }), h('h1', {}, 'hotset')),
        this.health,
        navigation,
        h('div', { class: 'tools' }, this.pause, theme, this.leave),
      ),
      this.notice,
      this.main,
      h('footer', {}, this.about, h('a', { href: 'LICENSES.txt' }, 'Licences')),
    );
    this.main.append(this.overview.element, this.objects.element, this.errors.element, this.settings.element);
    addEventListener('hashchange', () => this.route());
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.overview.recolour());
    this.route();
  }

  start(): void {
    document.body.replaceChildren(this.shell);
    void this.settings.load();
    void this.loop((this.turn += 1));
  }

  /** Asks until another loop takes over. */
  private async loop(turn: number): Promise<void> {
    while (turn === this.turn) {
      if (!this.paused) await this.step();
      await new Promise((resume) => setTimeout(resume, EVERY_SECONDS * 1000));
    }
  }

  private async step(): Promise<void> {
    try {
      this.history.add(await ask<Snapshot>('GET', '/api/v1/stats'));
      if (this.view === 'objects') await this.objects.refresh();
      this.notice.hidden = true;
    } catch (error) {
      this.failed(error);
    }
    this.show();
  }

  private failed(error: unknown): void {
    if (error instanceof Refused && error.status === 401) {
      this.signIn(hasToken() ? 'This token is refused.' : '');
      return;
    }
    setText(this.notice, error instanceof Refused ? `${error.message}.` : String(error));
    this.notice.hidden = false;
  }

  private show(): void {
    const last = this.history.last;
    if (!last) return;
    const { health } = last.origin;
    const text = { answers: 'Origin answers', fails: `Origin fails for ${span(health.failing_seconds ?? 0)}`, not_asked: 'Origin not asked yet' }[health.state];
    setText(this.health, text);
    this.health.className = `health ${this.notice.hidden ? health.state : 'not_asked'}`;
    setText(this.about, `hotset ${last.version}, up ${span(last.uptime_seconds)}`);
    const failed = last.errors.filter((error) => last.time - error.time < 300 && (error.status >= 500 || error.status === 0)).length;
    this.badge.hidden = failed === 0;
    setText(this.badge, String(failed));
    this.leave.hidden = !hasToken();
    const ratio = this.history.minute()?.hitRatio ?? null;
    document.title = ratio === null ? 'hotset' : `${percent(ratio)} hits – hotset`;
    if (this.view === 'overview') this.overview.show(this.history);
    this.errors.show(last);
  }

  private get view(): View {
    const named = location.hash.slice(1);
    return named in VIEWS ? (named as View) : 'overview';
  }

  private route(): void {
    for (const section of [this.overview, this.objects, this.errors, this.settings]) {
      section.element.hidden = section.element.id !== this.view;
    }
    for (const [view, link] of this.links) {
      if (view === this.view) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    if (this.view === 'objects') void this.objects.refresh().catch((error: unknown) => this.failed(error));
    this.show();
    window.scrollTo(0, 0);
  }

  private setPaused(paused: boolean): void {
    this.paused = paused;
    this.pause.setAttribute('aria-pressed', String(paused));
    setText(this.pause, paused ? 'Resume' : 'Pause');
  }

  private nextTheme(button: HTMLElement): void {
    const root = document.documentElement;
    const next = { auto: 'light', light: 'dark', dark: 'auto' }[root.dataset['theme'] ?? 'auto'] ?? 'auto';
    root.dataset['theme'] = next;
    setText(button, `${next.slice(0, 1).toUpperCase()}${next.slice(1)}`);
    button.setAttribute('aria-label', `Theme: ${next}`);
    this.overview.recolour();
  }

  private signIn(problem: string): void {
    this.turn += 1;
    setToken(null);
    const token = h('input', { type: 'password', id: 'token', autocomplete: 'off', required: true });
    const form = h(
      'form',
      {
        class: 'panel sign-in',
        submit: (event) => {
          event.preventDefault();
          setToken(token.value.trim());
          this.start();
        },
      },
      h('div', { class: 'brand' }, h('img', { src: 'icon.svg', alt: '', width: 30, height: 30 }), h('h1', {}, 'hotset')),
      field('Token', token, 'The value of admin.token or admin.read_token. It is kept until this tab is closed.'),
      h('p', { class: 'problem', role: 'alert' }, problem),
      h('div', { class: 'actions' }, h('button', { type: 'submit' }, 'Sign in')),
    );
    document.body.replaceChildren(h('main', { class: 'gate' }, form));
    token.focus();
  }
}

new Page().start();
