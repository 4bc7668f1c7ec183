import { existsSync } from 'node:fs';
import { join as joined } from 'node:path';
import { AutogitError } from '../../protocol/errors.ts';
import { progressLine, withFix } from '../progress-lines.ts';
import { configOf, homeOf, homesToSearch } from '../settings/settings.ts';
import { withSourcePositions } from '../source-positions.ts';
import { places, prepareHome } from '../store/home.ts';
import { columnsOf } from '../text-wrap.ts';
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
  const jobUser = (await import('./job-user.ts')).jobUserOf(options);
  prepareHome(options.home);
  const { leftAway, rememberJoin } = await import('../store/join-memory.ts');
  const missing = leftAway(options.home, settings);
  const form = { columns: columnsOf(process.stderr) };
  const warn = (what: string, sentence: string): void => out.talk(progressLine('warn', what, sentence, form));
  if (missing !== null && !options.service)
    warn('flags', withFix(`last time, not now: ${missing.missing}`, `autogit-node join ${missing.whole}`));
  if (jobUser !== null) warn('user', jobUser);
  await warnOfFile(context);
  const { fallbackFolder, isPrepared } = await import('../fallback/fallback-files.ts');
  const folder = fallbackFolder(options.home);
  if (isPrepared(folder) && !options.service)
    warn(
      'fallback',
      withFix(
        `a gitlab-runner's config for the mesh's jobs lies in ${folder}: while one runs by it, both take jobs`,
        'autogit-node fallback --end',
      ),
    );
  rememberJoin(options.home, settings);
  const { runAgent } = await import('../agent/run-agent.ts');
  const { mayStartAtBoot } = await import('./may-start-at-boot.ts');
  context.stop.own();
  const code = await runAgent(options, options.service ? null : mayStartAtBoot);
  return code === 'install' ? (await import('./service-commands.ts')).install(context) : code;
}

/** What of autogit.yml does not count as it stands there: said by `join` and `doctor`, not by every command. */
async function warnOfFile({ settings, out }: Context): Promise<void> {
  if (settings.notes.length === 0) return;
  const { warningsOf } = await import('../settings/seed-warnings.ts');
  const form = { columns: columnsOf(process.stderr) };
  for (const { sentence, fix } of warningsOf(settings.notes))
    out.talk(progressLine('warn', 'settings', withFix(`autogit.yml, ${sentence}`, fix), form));
}

/** The store would say it too, but not in which mesh, and not since when. */
async function refuseSecond(home: string): Promise<void> {
  if (!existsSync(places(home).socket)) return;
  const { createClient } = await import('../local-api/socket-client.ts');
  const { shownProcess } = await import('../local-api/agent-process.ts');
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

export async function demo({ settings, stop }: Context): Promise<number> {
  await import('../polyfill.ts');
  const { runDemo } = await import('../demo/demo.ts');
  stop.own();
  return runDemo({ keep: settings.isOn('demo.keep') });
}

/** The practice GitLab is a file of its own, with its own class of the same error. */
function ofPractice(error: unknown): unknown {
  if (!(error instanceof Error) || error.name !== 'AutogitError' || error instanceof AutogitError) return error;
  const { code, message, hint } = error as AutogitError;
  return new AutogitError(code, message, { hint, cause: error });
}

export async function practiceGitlab({ settings, out, stop }: Context): Promise<number> {
  const { practiceCommand } = await import('../../gitlab-bridge/practice/cli-entry.ts');
  const data = settings.text('practice.data');
  const url = settings.text('practice.url');
  if (url !== null && !/^https?:\/\/[^/\s]+\/?$/.test(url))
    throw new AutogitError('bad-flag', `--url: "${url}" is no address of a server; write http://HOST:PORT`, {
      hint: 'autogit-node practice-gitlab --help',
    });
  await practiceCommand(
    {
      port: settings.number('practice.port') ?? 0,
      host: settings.text('practice.host') ?? '127.0.0.1',
      ...(data === null ? {} : { data }),
      ...(url === null ? {} : { url }),
      json: settings.isOn('json'),
      pace: settings.text('practice.pace') === 'real' ? 'real' : 'fast',
    },
    { write: (text) => process.stdout.write(text) },
    stop.told(),
    settings.isOn('verbose') ? (line) => out.talk(withSourcePositions(line)) : undefined,
  ).catch((error: unknown) => {
    throw ofPractice(error);
  });
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
  const { packageFolder } = await import('./service-files.ts');
  const all = { ...places(homeOf(settings)), config: configOf(settings), docs: joined(packageFolder(), 'docs') };
  const running = homesToSearch(settings).find((home) => existsSync(places(home).socket)) ?? null;
  if (settings.isOn('json')) out.json({ ...all, running });
  // A place is there to be copied: it is never cut.
  else
    out.data(
      printTable({ head: ['WHAT', 'WHERE'], rows: Object.entries(all) }, { ...out, columns: Number.POSITIVE_INFINITY }),
    );
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
