import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { AutogitError } from '../../protocol/errors.ts';
import { fallbackFolder, removeFallback, writeFallback } from '../fallback/fallback-files.ts';
import { containerLine, type FallbackConfig, runnerConfig, shellWord } from '../fallback/runner-config.ts';
import { homesToSearch } from '../settings/settings.ts';
import { places } from '../store/home.ts';
import { type Remembered, recallJoin } from '../store/join-memory.ts';
import type { Context } from './context.ts';
import { exit } from './failure.ts';
import { sentence } from './output.ts';
import { printTold } from './table.ts';

/** `fallback`: an ordinary gitlab-runner takes the mesh's jobs on this machine while the mesh is off. `--end`: no more. */
export async function fallback(context: Context): Promise<number> {
  const { settings } = context;
  const homes = homesToSearch(settings);
  const home = homes.find((one) => existsSync(places(one).store)) ?? (homes[0] as string);
  const named = settings.text('fallback.out');
  const folder = named === null ? fallbackFolder(home) : resolve(named);
  return settings.isOn('fallback.end') ? end(context, folder) : begin(context, home, folder);
}

function end({ settings, out }: Context, folder: string): number {
  if (!removeFallback(folder))
    throw new AutogitError('bad-flag', `no fall-back was prepared in ${folder}`, {
      hint: 'where it was, if elsewhere: --out DIR',
    });
  if (settings.isOn('json')) out.json({ removed: folder });
  else sentence(out, `the fall-back's files and tokens in ${folder} are gone; the mesh again: autogit-node join`);
  return exit.ok;
}

const listOf = (value: string | string[] | undefined): string[] => (value === undefined ? [] : [value].flat());
const textOf = (value: string | string[] | undefined): string | null => listOf(value)[0] ?? null;

/** The machine as its agent was last started, measured now. */
async function measure(home: string, started: Remembered, executors: readonly string[]) {
  const { createMachine } = await import('../machine/machine.ts');
  const runtimes = executors.includes('docker') ? await runtimesHere(textOf(started.dockerHost?.value)) : [];
  const maxRuns = Number(textOf(started.maxRuns?.value) ?? Number.NaN);
  return createMachine({
    folder: home,
    labels: listOf(started.labels?.value),
    executors,
    maxRuns: Number.isInteger(maxRuns) ? maxRuns : null,
    reserveMemoryBytes: Number(textOf(started.reserveMemory?.value) ?? 0) || 0,
    playGpus: [],
    runtimes: () => runtimes,
  }).measure();
}

/** What the engine has beside its usual runtime; nothing where none answers. */
async function runtimesHere(dockerHost: string | null): Promise<string[]> {
  const { DockerConnection } = await import('../executors/docker-connection.ts');
  const { runtimesOf } = await import('../executors/docker-runtimes.ts');
  const { systemClock } = await import('../clock.ts');
  const engine = new DockerConnection(dockerHost, systemClock());
  return engine.info().then(runtimesOf, () => []);
}

async function begin(context: Context, home: string, folder: string): Promise<number> {
  const { settings, out } = context;
  await import('../polyfill.ts');
  const { keptClasses } = await import('../fallback/kept-classes.ts');
  const { ledger, node, self, classes, closed } = await keptClasses(home);
  const started = recallJoin(home);
  const executors = listOf(started.executors?.value);
  const kinds = executors.length > 0 ? executors : ['docker'];
  const ca = `${home}/gitlab-ca.pem`;
  const caFile = existsSync(ca) ? ca : null;
  const dockerHost = textOf(started.dockerHost?.value);
  const { deviceNodes } = await import('../executors/gpu-options.ts');
  const config = runnerConfig({
    ...{ mesh: ledger.mesh.name, node, url: ledger.gitlab.url as string, classes, executors: kinds },
    measured: await measure(home, started, kinds),
    defaultArch: ledger.settings.defaultArch,
    defaultImage: textOf(started.defaultImage?.value),
    dockerHost,
    nodesOf: deviceNodes,
    caFile,
  });
  const leaves = [...config.leaves, ...closed.map((tags) => ({ tags, because: 'its token is not for this machine' }))];
  if (config.takes.length === 0)
    throw new AutogitError('no-job', 'the mesh knows no set of tags whose jobs this machine could take', {
      hint: 'the mesh makes a runner with the first job of a set; on another machine: autogit-node fallback',
    });
  const written = writeFallback(folder, self, config.text);
  const isHosted = ledger.gitlab.mode === 'hosted';
  if (settings.isOn('json'))
    out.json({ ...written, takes: config.takes, leaves, run: runLine(written.config), hosted: isHosted });
  else
    show(
      context,
      { ...written, folder, out: settings.text('fallback.out'), isHosted, kinds, caFile, dockerHost },
      { ...config, leaves },
    );
  return exit.ok;
}

const shownTags = (tags: readonly string[]): string => (tags.length === 0 ? 'no tags' : tags.join(','));
const runLine = (config: string): string => `gitlab-runner run --config ${config}`;

interface Shown {
  config: string;
  folder: string;
  /** `--out`, as it was said. */
  out: string | null;
  isHosted: boolean;
  kinds: readonly string[];
  caFile: string | null;
  dockerHost: string | null;
}

function show(
  { out }: Context,
  { config, folder, out: named, isHosted, kinds, caFile, dockerHost }: Shown,
  { takes, leaves }: Pick<FallbackConfig, 'takes' | 'leaves'>,
): void {
  const rows = [
    ...takes.map((tags) => [shownTags(tags), 'taken', '']),
    ...leaves.map(({ tags, because }) => [shownTags(tags), 'left', because]),
  ];
  out.data(printTold({ head: ['JOBS WITH', 'HERE', 'BECAUSE'], rows }, out));
  out.talk(`written: ${config} (runner tokens: only you can read it)`);
  out.talk(`run it: ${runLine(config)}`);
  if (kinds.includes('docker')) out.talk(`or in a container: ${containerLine(folder, caFile, dockerHost)}`);
  const end = `autogit-node fallback --end${named === null ? '' : ` --out ${shellWord(folder)}`}`;
  out.talk(`the way back: end gitlab-runner (SIGQUIT waits for its jobs), then: ${end}`);
  if (isHosted) out.talk('GitLab is run by the mesh: it must still be served by a machine whose agent runs');
  out.talk('jobs with tags that the mesh has never seen have no runner, and wait for the mesh');
}
