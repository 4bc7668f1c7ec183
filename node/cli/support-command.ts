import { existsSync, readFileSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { doctor } from '../doctor/doctor-command.ts';
import { showBytes } from '../settings/quantities.ts';
import { configOf, homesToSearch, loadSettings, type Settings } from '../settings/settings.ts';
import { places } from '../store/home.ts';
import { secretsOf } from '../support/clean-text.ts';
import { type SupportPart, writeSupportFile } from '../support/support-file.ts';
import { supportParts } from '../support/support-parts.ts';
import { config } from './config-commands.ts';
import { agentOf, type Context } from './context.ts';
import { exit } from './failure.ts';
import { printTable } from './table.ts';

/** One file for a bug report, cleaned of secrets, and what is in it: nothing is sent by itself. */
export async function support(context: Context): Promise<number> {
  const { settings, out } = context;
  const agent = await agentOf(context).catch(() => null);
  const homes = homesToSearch(settings);
  const home = agent?.home ?? homes.find((one) => existsSync(one)) ?? (homes[0] as string);
  const name = `autogit-support-${hostname().replace(/[^\w-]/g, '')}-${stampOf(new Date())}`;
  const path = resolve(settings.text('support.out') ?? `${name}.tar.gz`);
  const parts = await supportParts({
    ...{ home, agent, configFile: configOf(settings) },
    secrets: [...secretsOf(process.env), ...ownSecrets(home)],
    doctor: () => printed(context, 'doctor', doctor),
    config: () => printed(context, null, config),
  });
  await writeSupportFile(path, name, parts, Date.now());
  const { size } = statSync(path);
  if (settings.isOn('json'))
    out.json({ file: path, bytes: size, parts: parts.map(({ text, ...part }) => ({ ...part, bytes: bytesOf(text) })) });
  else {
    out.data(path);
    out.talk(toldOf(parts, { columns: out.columns, isTerminal: true }, size, path));
  }
  return exit.ok;
}

const bytesOf = (text: string | null): number | null => (text === null ? null : Buffer.byteLength(text));

/** 20261130053412, UTC. */
const stampOf = (date: Date): string => date.toISOString().slice(0, 19).replace(/\D/g, '');

function toldOf(
  parts: readonly SupportPart[],
  form: { columns: number; isTerminal: boolean },
  size: number,
  path: string,
): string {
  const rows = parts.map(({ name, what, text, missing }) => [
    `  ${name}`,
    text === null ? '-' : showBytes(bytesOf(text) ?? 0),
    missing === null ? what : `not in it: ${missing}`,
  ]);
  return [
    `${showBytes(size)}, readable by you alone; nothing was sent. It has:`,
    printTable({ head: ['  FILE', 'SIZE', 'WHAT'], rows }, form),
    'Tokens, keys, passwords and invites were taken out. Names of machines, users, projects and jobs, addresses and log lines are in it. Look before you send it:',
    `  tar -xzOf ${path} | less`,
  ].join('\n');
}

/** What a command would print as JSON. */
async function printed(
  { settings, stop }: Context,
  command: string | null,
  run: (context: Context) => Promise<number>,
): Promise<string> {
  const said: unknown[] = [];
  const out: Context['out'] = {
    ...{ isTerminal: false, columns: 100 },
    data: (text) => void said.push(text),
    json: (value) => void said.push(value),
    talk: () => {},
    restart: () => {},
  };
  const ofCommand = await loadSettings(command, { ...givenOf(settings), json: true });
  await run({ command: command ?? 'config', args: [], settings: ofCommand, out, stop });
  return said.map((one) => (typeof one === 'string' ? one : JSON.stringify(one, null, 2))).join('\n');
}

/** What was said to this very command, and counts for the others too. */
const givenOf = (settings: Settings): Record<string, string> =>
  Object.fromEntries(
    ['home', 'config'].flatMap((key) => {
      const value = settings.text(key);
      return value === null ? [] : [[key, value]];
    }),
  );

/** Of this machine's own: its key, in each form in which a text could have it. */
function ownSecrets(home: string): string[] {
  try {
    const key = readFileSync(places(home).identity);
    return [key.toString('base64'), key.toString('base64url'), key.toString('hex'), key.toString('utf8').trim()];
  } catch {
    return [];
  }
}
