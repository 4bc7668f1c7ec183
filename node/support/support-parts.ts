import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { arch, cpus, freemem, release, totalmem, uptime } from 'node:os';
import { join } from 'node:path';
import { sentenceOf } from '../../protocol/errors.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import { logFile } from '../log.ts';
import { places } from '../store/home.ts';
import { version } from '../version.ts';
import { cleaned } from './clean-text.ts';
import { tailOf } from './log-tail.ts';
import { notifyAddresses } from './notify-addresses.ts';
import type { SupportPart } from './support-file.ts';

interface SupportSources {
  home: string;
  configFile: string;
  /** Null: none runs here. */
  agent: AgentClient | null;
  /** What these commands print as JSON. */
  doctor(): Promise<string>;
  config(): Promise<string>;
  /** Known by heart: they are taken out wherever they stand. */
  secrets: readonly string[];
}

const logLines = 20_000;
const allLogsMs = 20_000;

/** Everything that helps to find a fault, cleaned. What cannot be had is named, with why. */
export async function supportParts(sources: SupportSources): Promise<SupportPart[]> {
  const { home, agent, configFile } = sources;
  const asked = (ask: (agent: AgentClient) => Promise<unknown>) => async (): Promise<string> => {
    if (agent === null) throw new Error('no agent runs here');
    return JSON.stringify(await ask(agent), null, 2);
  };
  const wanted: [name: string, what: string, read: () => string | Promise<string>][] = [
    ['versions.json', 'autogit-node, Node.js, the system', () => JSON.stringify(versions(), null, 2)],
    ['status.json', 'the mesh as this machine sees it', asked(async (one) => (await one.status()).snapshot)],
    ['jobs.json', 'queue and runs, with why', asked((one) => one.jobs(true))],
    ['events.json', 'what happened in the mesh', asked(async (one) => (await one.timeline(null)).events)],
    ['usage.json', 'what machines used in the last day', asked((one) => one.usage())],
    ['settings-of-the-mesh.json', "the mesh's settings", asked(async (one) => (await one.settings()).settings)],
    ['config.json', 'settings in force here, and where each comes from', () => sources.config()],
    ['autogit.yml', 'the settings file', () => fileText(configFile)],
    ['doctor.json', 'what doctor finds here', () => sources.doctor()],
    ['agent.log', "this agent's log, the last 1 MiB", () => tailOf(logFile(home), logLines)],
    ['agent.log.1', 'the one before it', () => tailOf(`${logFile(home)}.1`, logLines)],
    ['all-machines.log', "the ends of all machines' logs", () => allLogs(agent)],
    ['watchdog.log', "the watchdog's log", () => tailOf(join(home, 'watchdog.log'), logLines)],
    ['home.txt', "names and sizes of the home's files, none of their content", () => homeText(home)],
  ];
  const secrets = [...sources.secrets, ...addressesIn(configFile)];
  const parts = await Promise.all(
    wanted.map(async ([name, what, read]): Promise<SupportPart> => {
      try {
        return { name, what, text: cleaned(await read(), secrets), missing: null };
      } catch (error) {
        const isAbsent = (error as NodeJS.ErrnoException).code === 'ENOENT';
        return { name, what, text: null, missing: isAbsent ? 'there is none' : sentenceOf(error) };
      }
    }),
  );
  return [
    { name: 'README.txt', what: 'what is in it', text: cleaned(readme(parts), secrets), missing: null },
    ...parts,
  ];
}

const versions = () => ({
  'autogit-node': version,
  node: process.version,
  system: `${process.platform} ${release()} ${arch()}`,
  wsl: existsSync('/proc/sys/fs/binfmt_misc/WSLInterop'),
  cpus: `${cpus().length} x ${cpus()[0]?.model ?? '?'}`,
  memoryBytes: { all: totalmem(), free: freemem() },
  uptimeSeconds: Math.round(uptime()),
  user: process.getuid?.() === 0 ? 'root' : 'no root',
});

function fileText(path: string): string {
  if (statSync(path).size > 256 << 10) throw new Error('it is larger than a settings file may be');
  return readFileSync(path, 'utf8');
}

/** What cannot be read has none, and no text of it is in the file either. */
function addressesIn(path: string): string[] {
  try {
    return notifyAddresses(fileText(path));
  } catch {
    return [];
  }
}

async function allLogs(agent: AgentClient | null): Promise<string> {
  if (agent === null) throw new Error('no agent runs here');
  let all = '';
  for await (const text of agent.logs(
    { job: null, node: null, all: true, follow: false },
    AbortSignal.timeout(allLogsMs),
  ))
    all += text;
  return all;
}

function homeText(home: string): string {
  const rows = readdirSync(home, { withFileTypes: true }).map((entry) => {
    const stat = statSync(join(home, entry.name), { throwIfNoEntry: false });
    const mode = ((stat?.mode ?? 0) & 0o7777).toString(8);
    return `${mode}\t${stat?.uid ?? '-'}\t${entry.isDirectory() ? 'folder' : (stat?.size ?? '-')}\t${entry.name}`;
  });
  return `${places(home).home}\n${rows.sort().join('\n')}\n`;
}

const readme = (parts: readonly SupportPart[]): string =>
  [
    'A bug report of autogit-node, made by: autogit-node support',
    '',
    ...parts.map(({ name, what, missing }) => `${name.padEnd(26)} ${missing === null ? what : `not here: ${missing}`}`),
    '',
    'Tokens, keys, passwords, invites and whatever looks drawn by chance were taken out: [redacted]. Names of machines, users, projects,',
    'branches and jobs, addresses, and what programs said in the log are in it. Traces of jobs, the store and sources are not.',
    '',
  ].join('\n');
