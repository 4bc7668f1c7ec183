import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import type { Settings, Source } from '../settings/settings.ts';
import { type Flag, flagsOf, spellingOf } from '../settings/settings-table.ts';

/** What a `join` says about one moment, or about where it runs; everything else describes the machine. */
const momentary = new Set(['new', 'pair', 'invite', 'switch', 'service', 'mesh']);
const lasting = (): Flag[] => flagsOf('join').filter(({ key }) => !momentary.has(key));

const Remembered = z.record(
  z.string(),
  z.object({ value: z.union([z.string(), z.array(z.string())]), source: z.enum(['flag', 'variable', 'file']) }),
);
export type Remembered = z.infer<typeof Remembered>;

const file = (home: string): string => join(home, 'join.json');

/** One value as it would be written in autogit.yml. */
function written(flag: Flag, value: unknown): string | string[] {
  if (Array.isArray(value)) return value.map(String);
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  return flag.kind === 'duration' ? `${value}ms` : String(value);
}

/** What is in force for this machine beyond the defaults, and who said it. */
function inForce(settings: Settings): Remembered {
  const found: Remembered = {};
  for (const flag of lasting()) {
    const [value, source] = [settings.get(flag.key), settings.source(flag.key)];
    if (value !== null && source !== 'default') found[flag.key] = { value: written(flag, value), source };
  }
  return found;
}

/**
 * Kept in the home, so that the service, and the next `join`, know how this agent was started. The first file that a join
 * writes: a home of another user is found out here. Throws `home-unwritable`.
 */
export function rememberJoin(home: string, settings: Settings): void {
  try {
    writeFileSync(file(home), `${JSON.stringify(inForce(settings))}\n`, { mode: 0o600 });
  } catch (cause) {
    throw new AutogitError('home-unwritable', `${home} cannot be written: ${sentenceOf(cause)}`, { cause });
  }
}

/** Empty where nothing was remembered, or not by this version. */
export function recallJoin(home: string): Remembered {
  try {
    const parsed = Remembered.safeParse(JSON.parse(readFileSync(file(home), 'utf8')));
    return parsed.success ? parsed.data : {};
  } catch {
    return {};
  }
}

/** As typed: `--executor process --label fast`. */
const typed = (flag: Flag, value: string | string[]): string =>
  flag.kind === 'switch'
    ? spellingOf(flag)
    : [value]
        .flat()
        .map((one) => `${spellingOf(flag)} ${/^[\w./:@,-]+$/.test(one) ? one : `'${one.replaceAll("'", `'\\''`)}'`}`)
        .join(' ');

/**
 * Flags of the last `join` that this one leaves away, as they would be typed, and what has them and today's too; null when
 * there are none.
 */
export function leftAway(home: string, settings: Settings): { missing: string; whole: string } | null {
  const before = recallJoin(home);
  const isSaid = (source: Source): boolean => source !== 'default';
  const missing = lasting().filter(({ key }) => key in before && key !== 'name' && !isSaid(settings.source(key)));
  if (missing.length === 0) return null;
  const listed = (from: readonly Flag[], values: Remembered): string =>
    from.map((flag) => typed(flag, values[flag.key]!.value)).join(' ');
  const now = inForce(settings);
  const whole = lasting().filter((flag) => missing.includes(flag) || now[flag.key]?.source === 'flag');
  return { missing: listed(missing, before), whole: listed(whole, { ...before, ...now }) };
}
