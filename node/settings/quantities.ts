import { AutogitError } from '../../protocol/errors.ts';

const units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const sizes = { '': 1, k: 1 << 10, m: 1 << 20, g: 1 << 30, t: 2 ** 40 } as const;

/** `90s`, `10m`, `2h`, `1h30m`, `1d`, `500ms` in ms; a bare number means seconds. Throws `bad-flag`. */
export function parseDuration(text: string): number {
  const words = text.trim();
  if (/^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d)){2,5}$/.test(words))
    return (words.match(/[\d.]+[a-z]+/g) as string[]).reduce((sum, part) => sum + parseDuration(part), 0);
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(words);
  if (!match) throw new AutogitError('bad-flag', `"${text}" is no duration; write 90s, 10m or 2h`);
  return Math.round(Number(match[1]) * units[(match[2] ?? 's') as keyof typeof units]);
}

/** `512m`, `24g`, `1.5t` in bytes; a bare number means bytes; `GiB`, `Gi` and `GB` mean the same: powers of 1024. Throws `bad-flag`. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt])?(?:i|i?b)?$/i.exec(text.trim());
  if (!match) throw new AutogitError('bad-flag', `"${text}" is no size; write 512m or 24g`);
  return Math.round(Number(match[1]) * sizes[(match[2]?.toLowerCase() ?? '') as keyof typeof sizes]);
}

/** A TCP port in decimal digits, 0 included: any free one. */
export const isPort = (text: string): boolean => /^\d{1,5}$/.test(text) && Number(text) <= 65_535;

/** One unit, for people: `0.4 s`, `14 s`, `22 min`, `3 h`, `5 d`. */
export function showDuration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 9.95) return `${seconds > 0 && Number.isInteger(seconds) ? seconds : seconds.toFixed(1)} s`;
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  if (seconds < 5970) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_000) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** `24 GiB`, `512 MiB`: one decimal below ten where it says something. */
export function showBytes(bytes: number): string {
  for (const [unit, size] of [
    ['TiB', sizes.t],
    ['GiB', sizes.g],
    ['MiB', sizes.m],
    ['KiB', sizes.k],
  ] as const) {
    if (bytes < size) continue;
    const value = bytes / size;
    return `${value < 9.95 && value % 1 >= 0.05 ? value.toFixed(1) : Math.round(value)} ${unit}`;
  }
  return `${Math.round(bytes)} B`;
}

/** `31/64 GiB`: both in the unit of the second. */
export function showShare(used: number, total: number): string {
  const [, unit] = showBytes(total).split(' ') as [string, string];
  const size = { TiB: sizes.t, GiB: sizes.g, MiB: sizes.m, KiB: sizes.k, B: 1 }[unit] as number;
  // Of a disk of 4 TiB the tenths count.
  const digits = unit === 'TiB' ? 10 : 1;
  const [part, whole] = [used, total].map((bytes) => Math.round((digits * bytes) / size) / digits);
  return `${part}/${whole} ${unit}`;
}
