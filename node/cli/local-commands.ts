import { existsSync } from 'node:fs';
import { AutogitError } from '../../protocol/errors.ts';
import { progressLine } from '../progress-lines.ts';
import { showBytes, showDuration } from '../settings/quantities.ts';
import { homeOf, homesToSearch, loadSettings } from '../settings/settings.ts';
import { type Flag, flags, variableOf } from '../settings/settings-table.ts';
import { withSourcePositions } from '../source-positions.ts';
import { configFile, places, prepareHome } from '../store/home.ts';
import { version } from '../version.ts';
import type { Context } from './context.ts';
import { exit } from './failure.ts';
import { printTable } from './table.ts';

export async function join(context: Context): Promise<number> {
  const { settings, out } = context;
  await import('../polyfill.ts');
  const { joinOptions } = await import('../settings/join-options.ts');
  const options = joinOptions(settings);
  await refuseSecond(options.home);
  const jobUser = (await import('../job-user.ts')).jobUserOf(options);
  prepareHome(options.home);
  const { leftAway, rememberJoin } = await import('../store/join-memory.ts');
  const missing = leftAway(options.home, settings);
  if (missing !== null && !options.service)
    out.talk(
      progressLine('warn', 'flags', `last time, not now: ${missing.missing}\n-> autogit-node join ${missing.whole}`),
    );
  if (jobUser !== null) out.talk(progressLine('warn', 'user', jobUser));
  rememberJoin(options.home, settings);
  const { runAgent } = await import('../agent/run-agent.ts');
  const { mayStartAtBoot } = await import('./service-commands.ts');
  const code = await runAgent(options, options.service ? null : mayStartAtBoot);
  return code === 'install' ? (await import('./service-commands.ts')).install(context) : code;
}

/** The store would say it too, but not in which mesh, and not since when. */
async function refuseSecond(home: string): Promise<void> {
  if (!existsSync(places(home).socket)) return;
  const { createClient } = await import('../local-api/socket-client.ts');
  const { shownProcess } = await import('../agent-process.ts');
  const where = await createClient(home)
    .phase()
    .then(async ({ phase }) =>
      phase === 'joined'
        ? `is in mesh ${(await createClient(home).status()).snapshot.mesh.name}`
        : 'waits to be let in',
    )
    .catch((error: unknown) => {
      if (error instanceof AutogitError && error.code === 'timed-out') throw error;
      return null;
    });
  if (where === null) return;
  throw new AutogitError('agent-running', `this machine ${where} already (${shownProcess(home)})`, {
    hint: 'a second one needs its own --home DIR; how that one is: autogit-node status',
  });
}

export async function demo({ settings }: Context): Promise<number> {
  await import('../polyfill.ts');
  const { runDemo } = await import('../demo/demo.ts');
  return runDemo({ keep: settings.isOn('demo.keep') });
}

export async function practiceGitlab({ settings, out, signal }: Context): Promise<number> {
  const { practiceCommand } = await import('../../gitlab-bridge/practice/cli-entry.ts');
  const data = settings.text('practice.data');
  await practiceCommand(
    {
      port: settings.number('practice.port') ?? 0,
      host: settings.text('practice.host') ?? '127.0.0.1',
      ...(data === null ? {} : { data }),
      json: settings.isOn('json'),
      pace: settings.text('practice.pace') === 'real' ? 'real' : 'fast',
    },
    { write: (text) => process.stdout.write(text) },
    signal,
    settings.isOn('verbose') ? (line) => out.talk(withSourcePositions(line)) : undefined,
  );
  // Ctrl-C is how it is meant to end.
  return exit.ok;
}

export async function showVersion({ out, settings }: Context): Promise<number> {
  if (settings.isOn('json'))
    out.json({ version, node: process.version, platform: `${process.platform}-${process.arch}` });
  else out.data(out.isTerminal ? `autogit-node ${version} (Node.js ${process.version})` : version);
  return exit.ok;
}

export async function paths({ out, settings }: Context): Promise<number> {
  const all = { ...places(homeOf(settings)), config: settings.text('config') ?? configFile(process.env) };
  const running = homesToSearch(settings).find((home) => existsSync(places(home).socket)) ?? null;
  if (settings.isOn('json')) out.json({ ...all, running });
  else out.data(printTable({ head: ['WHAT', 'WHERE'], rows: Object.entries(all) }, out));
  return exit.ok;
}

export async function id({ out, settings }: Context): Promise<number> {
  const { readIdentity } = await import('../secrets/identity.ts');
  const home = homesToSearch(settings).find((candidate) => existsSync(places(candidate).identity));
  const found = home === undefined ? null : await readIdentity(home);
  if (found === null)
    throw new AutogitError('no-mesh', 'this machine has no identity yet', {
      hint: 'it gets one by: autogit-node join',
    });
  if (settings.isOn('json')) out.json({ id: found, home });
  else out.data(found);
  return exit.ok;
}

/** Keys whose values are nobody's business. */
const secretKeys = new Set(['invite', 'approve.words']);

/** Every setting, its value in force and its source; also the names by which it is set. */
export async function config(context: Context): Promise<number> {
  const { out, settings } = context;
  const given = Object.fromEntries(
    settings
      .entries()
      .filter(({ source }) => source === 'flag')
      .map(({ key, value }) => [key, value as string | boolean]),
  );
  const all = await loadSettings(null, given);
  const rows = flags.map((flag) => {
    const value = all.get(flag.key);
    const shown = secretKeys.has(flag.key) && value !== null ? '[set]' : value;
    return { key: flag.key, value: shown, source: all.source(flag.key), variable: variableOf(flag) };
  });
  if (settings.isOn('json')) {
    out.json({
      file: settings.text('config') ?? configFile(process.env),
      settings: rows,
      unknownVariables: all.unknownVariables,
    });
    return exit.ok;
  }
  // Bytes and ms are for scripts.
  const people: Partial<Record<Flag['kind'], (amount: number) => string>> = out.isTerminal
    ? { duration: showDuration, size: showBytes }
    : {};
  const show = (value: unknown, kind: Flag['kind']): string =>
    typeof value === 'number' && people[kind] ? people[kind](value) : plain(value);
  const plain = (value: unknown): string =>
    value === null ? '-' : typeof value === 'boolean' ? (value ? 'on' : 'off') : [value].flat().join(',') || '-';
  out.data(
    printTable(
      {
        head: ['KEY', 'VALUE', 'FROM', 'VARIABLE'],
        rows: rows.map((row, index) => [
          row.key,
          show(row.value, flags[index]?.kind ?? 'text'),
          row.source,
          row.variable,
        ]),
      },
      out,
    ),
  );
  for (const name of all.unknownVariables) out.talk(`# ${name} is set and means nothing`);
  return exit.ok;
}
