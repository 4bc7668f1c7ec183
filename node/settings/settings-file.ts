import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { z } from 'zod';
import { AutogitError } from '../../protocol/errors.ts';
import { limits } from '../../protocol/limits.ts';
import { flags } from './settings-table.ts';

const scalar = z.union([z.string(), z.number(), z.boolean()]);
const leaf = z.union([scalar, z.array(scalar).max(1000)]).nullable();

/** The strict form of autogit.yml, made from the table: an unknown key is refused by its name. */
function schema(): z.ZodType<Record<string, unknown>> {
  const top: Record<string, z.ZodType> = {};
  const sections: Record<string, Record<string, z.ZodType>> = {};
  for (const { key } of flags) {
    const [first, second] = key.split('.') as [string, string | undefined];
    if (second === undefined) top[first] = leaf.optional();
    else {
      sections[first] ??= {};
      sections[first][second] = leaf.optional();
    }
  }
  for (const [name, shape] of Object.entries(sections)) top[name] = z.strictObject(shape).nullable().optional();
  return z
    .strictObject(top)
    .nullable()
    .transform((value) => value ?? {}) as z.ZodType<Record<string, unknown>>;
}

/**
 * Reads autogit.yml into texts by key. A file that is not there is empty, unless it was named. Throws `bad-config` with
 * the file, the key and what is wrong.
 */
export function readSettingsFile(file: string, isNamed: boolean): Map<string, string | string[]> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT' && !isNamed) return new Map();
    throw new AutogitError('bad-config', `${file} cannot be read: ${(cause as Error).message}`, { cause });
  }
  if (text.length > limits.socketRequestBytes) throw new AutogitError('bad-config', `${file} is too large`);
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 0 }) ?? {};
  } catch (cause) {
    throw new AutogitError('bad-config', `${file} is no YAML: ${firstLine((cause as Error).message)}`, { cause });
  }
  const parsed = schema().safeParse(value);
  if (!parsed.success) throw new AutogitError('bad-config', `${file}: ${complaint(parsed.error)}`);
  return flatten(parsed.data);
}

const firstLine = (text: string): string => text.split('\n')[0] ?? '';

function complaint(error: z.ZodError): string {
  const issue = error.issues[0];
  const path = issue?.path.join('.') ?? '';
  if (issue?.code === 'unrecognized_keys') {
    const names = issue.keys.map((key) => (path === '' ? key : `${path}.${key}`));
    return `unknown ${names.length === 1 ? 'key' : 'keys'} ${names.map((name) => `"${name}"`).join(', ')}`;
  }
  return path === ''
    ? 'it must be a list of "key: value" lines'
    : `${path} must be a text, a number, on or off, or a list of these`;
}

function flatten(value: Record<string, unknown>): Map<string, string | string[]> {
  const found = new Map<string, string | string[]>();
  const known = new Set(flags.map((flag) => flag.key));
  const visit = (prefix: string, node: Record<string, unknown>) => {
    for (const [name, child] of Object.entries(node)) {
      if (child === null || child === undefined) continue;
      const key = prefix === '' ? name : `${prefix}.${name}`;
      if (!known.has(key)) visit(key, child as Record<string, unknown>);
      else found.set(key, Array.isArray(child) ? child.map(String) : String(child));
    }
  };
  visit('', value);
  return found;
}
