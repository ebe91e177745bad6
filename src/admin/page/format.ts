// Numbers for people.

const COUNT = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });

export function count(value: number | null): string {
  if (value === null) return '–';
  return value > 0 && value < 0.1 ? '<0.1' : value < 10 ? String(Math.round(value * 10) / 10) : COUNT.format(value);
}

const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];

export function bytes(value: number | null): string {
  if (value === null) return '–';
  let unit = 0;
  while (value >= 1024 && unit < BYTE_UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 100 ? Math.round(value) : Number(value.toPrecision(value >= 10 ? 3 : 2))} ${BYTE_UNITS[unit]}`;
}

export function seconds(value: number | null): string {
  if (value === null) return '–';
  if (value < 0.001) return `${Math.round(value * 1e6)} µs`;
  if (value < 1) return `${Number((value * 1e3).toPrecision(2))} ms`;
  if (value < 120) return `${Number(value.toPrecision(2))} s`;
  return span(value);
}

/** A longer time: `3 h 20 min`. */
export function span(value: number): string {
  const parts: [number, string][] = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
  const first = parts.findIndex(([size]) => value >= size);
  if (first < 0) return '0 s';
  let rest = value;
  return parts.slice(first, first + 2).map(([size, unit]) => {
    const whole = Math.floor(rest / size);
    rest -= whole * size;
    return whole > 0 || unit === 's' && first === 3 ? `${whole} ${unit}` : '';
  }).filter(Boolean).join(' ');
}

export function percent(value: number | null): string {
  if (value === null) return '–';
  const shown = value * 100;
  return `${Number(shown.toFixed(1))} %`;
}

/** US dollars; less than a cent is told apart from nothing. */
export function dollars(value: number): string {
  if (value > 0 && value < 0.01) return '<$0.01';
  return value < 1000 ? `$${value.toFixed(2)}` : `$${COUNT.format(value)}`;
}

export function clock(unix: number): string {
  return new Date(unix * 1000).toLocaleTimeString([], { hour12: false });
}

export function moment(unix: number): string {
  return new Date(unix * 1000).toISOString().replace('T', ' ').slice(0, 19);
}
