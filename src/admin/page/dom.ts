// Building the document. Text from the server only ever becomes text nodes and attribute values; nothing here parses
// HTML, and the Content-Security-Policy forbids it.

type Child = Node | string | null;
type Attributes = Record<string, string | number | boolean | ((event: Event) => void)>;

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false) element.setAttribute(name, String(value));
  }
  for (const child of children) if (child !== null) element.append(child);
  return element;
}

/** Sets text only where it changed, so that a screen reader and a selection are left alone. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Replaces the rows of a table unless they are the same as before. */
export function setRows(body: HTMLElement, rows: HTMLElement[]): void {
  const same = rows.length === body.children.length
    && rows.every((row, index) => row.isEqualNode(body.children[index] ?? null));
  if (!same) body.replaceChildren(...rows);
}

/** A table that scrolls by itself on narrow screens, by keyboard too. */
export function table(label: string, columns: string[]): { frame: HTMLElement; body: HTMLElement } {
  // The roles stay where a narrow screen shows rows as blocks.
  const body = h('tbody', { role: 'rowgroup' });
  const cells = columns.map((name) => h('th', { scope: 'col', role: 'columnheader' }, name));
  const head = h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, ...cells));
  const frame = h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': label }, h('table', { role: 'table' }, head, body));
  return { frame, body };
}

/** A labelled form control. */
export function field(label: string, control: HTMLElement, hint = ''): HTMLElement {
  const id = control.id || (control.id = `field-${(fields += 1)}`);
  const help = hint ? h('span', { class: 'hint', id: `${id}-hint` }, hint) : null;
  if (help) control.setAttribute('aria-describedby', help.id);
  return h('div', { class: 'field' }, h('label', { for: id }, label), control, help);
}
let fields = 0;

/** A row of a list of facts; a state has a light. */
export type Fact = [name: string, value: string | null, state?: string];

/** Shows facts, those without a value left out, unless they are the same as before. */
export function facts(list: HTMLElement, rows: Fact[]): void {
  const made = rows.filter(([, value]) => value !== null).map(([name, value, state]) =>
    h('div', {}, h('dt', {}, name), h('dd', state ? { class: `state ${state}` } : {}, value ?? '')));
  const same = made.length === list.children.length && made.every((row, index) => row.isEqualNode(list.children[index] ?? null));
  if (!same) list.replaceChildren(...made);
}
