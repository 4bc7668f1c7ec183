import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { Answer, Ask } from '../../protocol/asks.ts';
import { Change } from '../../protocol/changes.ts';
import { Ledger } from '../../protocol/ledger.ts';
import { PeerMessage } from '../../protocol/messages.ts';
import { Report } from '../../protocol/report.ts';

/** The main before drills, rounds in the history and rehearsed upgrades: its agents meet those of today while a mesh is upgraded. */
const before = '12aa9c9';
const root = fileURLToPath(new URL('../..', import.meta.url));
const now = { Ask, Answer, Change, Ledger, PeerMessage, Report };
type Name = keyof typeof now;

/** What an older agent does not read, and why it is never told: each is asked for by name, or refused by who knows better. */
const spared = [
  // Only who asks for rounds is told of them; an older host leaves the question unanswered, and the asker says what that may mean.
  /^Ask<restore-gitlab>\.backup pattern/,
  /^Answer<backups>\.rows\[\]\.id pattern/,
  // Only with https, for which a host that cannot serve it is not asked.
  /^Ask<check-deploy>\.wish\.httpPort /,
  // Room to come: none has more than 16 (unit/hosted-edits).
  /\.can maxItems 16 -> 64$/,
  // Refused in words where it is typed, while a leader or a voter knows no moves of its own.
  /^(?:PeerMessage<change>\.change|Change)<set>\.key value (?:inSyncGraceMs|failover)$/,
  // The same less the words that every object has (`NodeId`): nothing that is said today was not said before.
  / pattern \^\[A-Za-z0-9-\]\{1,64\}\$$/,
];

interface Shape {
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  pattern?: string;
  required?: string[];
  properties?: Record<string, Shape>;
  additionalProperties?: boolean | Shape;
  items?: Shape;
  anyOf?: Shape[];
  oneOf?: Shape[];
}

const limitsUp = ['maxLength', 'maxItems', 'maximum'] as const;
const limitsDown = ['minLength', 'minItems', 'minimum'] as const;
const either = (shape: Shape): Shape[] | undefined => shape.anyOf ?? shape.oneOf;
const kindOf = (shape: Shape): unknown => shape.properties?.kind?.const;
const limit = (shape: Shape, key: string): number | undefined => (shape as Record<string, number>)[key];

/** What may be said today in `is`, and `was` would refuse. A kind that is new is its own matter: it needs an ability. */
function refused(was: Shape, is: Shape, path: string): string[] {
  const [old, today] = [either(was), either(is)];
  if (old || today)
    return (today ?? [is]).flatMap((one) => {
      const kind = kindOf(one);
      const others = (old ?? [was]).filter((other) =>
        kind === undefined ? String(other.type) === String(one.type) : kindOf(other) === kind,
      );
      if (others.length === 0) return kind === undefined ? [`${path} alternative ${String(one.type)}`] : [];
      const tries = others.map((other) => refused(other, one, kind === undefined ? path : `${path}<${kind}>`));
      return tries.sort((a, b) => a.length - b.length)[0] ?? [];
    });
  const found: string[] = [];
  if (String(was.type) !== String(is.type)) found.push(`${path} type ${was.type} -> ${is.type}`);
  if (was.const !== undefined && was.const !== is.const) found.push(`${path} const ${was.const} -> ${is.const}`);
  const values = was.enum && (is.enum ?? (is.const === undefined ? ['anything'] : [is.const]));
  for (const value of values ?? []) if (!was.enum?.includes(value)) found.push(`${path} value ${value}`);
  for (const key of [...limitsUp, ...limitsDown]) {
    const [least, most] = [limit(was, key), limit(is, key)];
    const sign = (limitsUp as readonly string[]).includes(key) ? 1 : -1;
    if (least !== undefined && (most === undefined || sign * most > sign * least))
      found.push(`${path} ${key} ${least} -> ${most}`);
  }
  if (was.pattern !== undefined && was.pattern !== is.pattern) found.push(`${path} pattern ${was.pattern}`);
  for (const name of was.required ?? []) if (!is.required?.includes(name)) found.push(`${path}.${name} may be absent`);
  for (const [name, field] of Object.entries(is.properties ?? {})) {
    const known = was.properties?.[name];
    if (known) found.push(...refused(known, field, `${path}.${name}`));
    else if (was.additionalProperties === false) found.push(`${path}.${name} where nothing else may stand`);
  }
  if (was.items && is.items) found.push(...refused(was.items, is.items, `${path}[]`));
  if (typeof was.additionalProperties === 'object' && typeof is.additionalProperties === 'object')
    found.push(...refused(was.additionalProperties, is.additionalProperties, `${path}{}`));
  return found;
}

const shapeOf = (schema: z.ZodType): Shape =>
  z.toJSONSchema(schema, { unrepresentable: 'any', io: 'input' }) as unknown as Shape;

let folder = '';
let then: Record<Name, z.ZodType>;
beforeAll(async () => {
  // Inside the tree, so that its packages are found.
  mkdirSync(join(root, '.tmp'), { recursive: true });
  folder = mkdtempSync(join(root, '.tmp', 'old-wire-'));
  const tree = execFileSync('git', ['archive', '--format=tar', before, 'protocol'], { cwd: root, maxBuffer: 64 << 20 });
  execFileSync('tar', ['-x', '-C', folder], { input: tree });
  const contents = `export { Ask, Answer } from './protocol/asks.ts'; export { Change } from './protocol/changes.ts';
    export { Ledger } from './protocol/ledger.ts'; export { PeerMessage } from './protocol/messages.ts'; export { Report } from './protocol/report.ts';`;
  const outfile = join(folder, 'wire.mjs');
  await build({
    stdin: { contents, resolveDir: folder, loader: 'ts' },
    ...{ outfile, bundle: true, platform: 'node', format: 'esm', packages: 'external', logLevel: 'error' },
  });
  then = await import(pathToFileURL(outfile).href);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('sees what an older agent would refuse', () => {
  const was = z.object({ state: z.enum(['a', 'b']), text: z.string().max(5), at: z.strictObject({ x: z.int() }) });
  const is = z.object({
    state: z.enum(['a', 'c']),
    text: z.string().max(9).optional(),
    at: z.strictObject({ x: z.int(), y: z.int() }),
  });
  expect(refused(shapeOf(was), shapeOf(is), 'It')).toEqual([
    'It.text may be absent',
    'It.state value c',
    'It.text maxLength 5 -> 9',
    'It.at.y where nothing else may stand',
  ]);
  expect(refused(shapeOf(is), shapeOf(is), 'It')).toEqual([]);
});

it.each(Object.keys(now) as Name[])('%s as it is said today is read by agents of the version before', (name) => {
  const found = refused(shapeOf(then[name]), shapeOf(now[name]), name);
  expect(found.filter((one) => !spared.some((known) => known.test(one)))).toEqual([]);
});
