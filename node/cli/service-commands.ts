import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { plural } from '../../scheduler/phrases.ts';
import { execCleanly } from '../clean-spawn.ts';
import { shown } from '../foreign-text.ts';
import { hasSystemd } from '../machine/as-service.ts';
import { serviceGroup, systemHome, userHome } from '../store/home.ts';
import { recallJoin } from '../store/join-memory.ts';
import { version } from '../version.ts';
import { changeableHere, makeProgramFolder } from './changeable-path.ts';
import type { Context } from './context.ts';
import { exit } from './failure.ts';
import { systemUnit, serviceUnit as unit, userUnit } from './may-start-at-boot.ts';
import { chooseJobUser, serviceConfig, writeFlags } from './service-config.ts';
import { copyProgram, unitText, writeUnit } from './service-files.ts';
import { endAgent, jobsWereRoot, moveHome, systemHomes, unfinishedRuns } from './service-home.ts';
import { removePrograms } from './service-programs.ts';

const run = execCleanly;

interface Scope {
  isSystem: boolean;
  unitFile: string;
  program: string;
  home: string;
  target: string;
  /** Where the command is linked, when the place is free. */
  link: string;
}

/** The home that the unit names; where there is no unit, the one that it would get. */
const homeIn = ({ unitFile, home }: Scope): string =>
  (existsSync(unitFile) ? / --home (\S+) /.exec(readFileSync(unitFile, 'utf8'))?.[1] : null) ?? home;

type Verb = 'install' | 'uninstall' | 'status';

/** Without a word of the user's: root's is the system's, and everybody's where there is one and none of his own. */
function isSystems({ settings }: Context): boolean {
  const system = settings.isOn('serviceSystem');
  const user = settings.isOn('serviceUser');
  if (system && user) throw new AutogitError('bad-flag', '--system and --user exclude each other');
  if (system || user) return system;
  return process.getuid?.() === 0 || (existsSync(systemUnit) && !existsSync(userUnit(process.env)));
}

/** --system or --user; without either the one that is there. Throws `bad-flag` for both, and for what only root may do. */
function scopeOf(context: Context, verb: Verb): Scope {
  const { settings } = context;
  const isSystem = isSystems(context);
  if (isSystem && process.getuid?.() !== 0 && verb !== 'status')
    throw new AutogitError(
      'bad-flag',
      existsSync(systemUnit)
        ? `the service of this machine is the system's (${systemUnit})`
        : 'a system service needs root',
      { hint: `sudo autogit-node service ${verb}${settings.isOn('serviceSystem') ? ' --system' : ''}` },
    );
  const data = process.env.XDG_DATA_HOME || join(homedir(), '.local', 'share');
  return {
    isSystem,
    unitFile: isSystem ? systemUnit : userUnit(process.env),
    program: isSystem ? `/opt/autogit-node/${version}` : join(data, 'autogit-node', version),
    home: settings.text('home') ?? (isSystem ? systemHome : userHome(process.env)),
    target: isSystem ? 'multi-user.target' : 'default.target',
    link: isSystem ? '/usr/local/bin/autogit-node' : join(homedir(), '.local', 'bin', 'autogit-node'),
  };
}

function requireSystemd({ isSystem }: Scope): void {
  if (hasSystemd()) return;
  throw new AutogitError(
    'unsupported',
    `this machine does not run systemd, so there is no ${isSystem ? 'system' : 'user'} service`,
    {
      hint: 'start it by what this machine has, with: autogit-node join --service',
    },
  );
}

async function systemctl(scope: Scope, ...args: string[]): Promise<string> {
  const all = [...(scope.isSystem ? [] : ['--user']), ...args];
  try {
    return (await run('systemctl', all)).stdout;
  } catch (cause) {
    const said = (cause as { stderr?: string }).stderr?.trim() || sentenceOf(cause);
    throw new AutogitError('unsupported', `systemctl ${all.join(' ')}: ${said}`, {
      cause,
      hint: `systemctl ${all.join(' ')}`,
    });
  }
}

/** Its members may use the agent without being root; a machine without groupadd goes on without it. */
async function makeGroup({ out }: Context): Promise<void> {
  try {
    await run('groupadd', ['--force', '--system', serviceGroup]);
  } catch (error) {
    out.talk(`# no group ${serviceGroup}: ${sentenceOf(error)}   -> use sudo for autogit-node status`);
  }
}

/** A service must not run what others may change: such a Node.js is copied beside the program. */
function nodeFor(scope: Scope, { out }: Context): string {
  const node = realpathSync(process.execPath);
  const changeable = changeableHere(node);
  if (changeable === null) return node;
  const copy = join(scope.program, 'bin', 'node');
  mkdirSync(join(scope.program, 'bin'), { recursive: true, mode: 0o755 });
  copyFileSync(node, copy);
  chmodSync(copy, 0o755);
  out.talk(`# ${changeable.path} can be changed by uid ${changeable.uid}: the service runs a copy of Node.js, ${copy}`);
  return copy;
}

/** The service goes on as the agent that runs here: its home (with name, mesh and identity) and its flags. */
async function takeOver(
  context: Context,
  scope: Scope,
  program: { node: string; bin: string },
): Promise<{ home: string; config: string; said: string[] }> {
  const said: string[] = [];
  const named = context.settings.text('home');
  const homes = named === null && scope.isSystem ? systemHomes() : { from: scope.home, to: scope.home };
  const runs = homes.from === homes.to ? 0 : await unfinishedRuns(homes.from);
  const home = runs > 0 ? homes.from : homes.to;
  const config = context.settings.text('config') ?? serviceConfig(scope.isSystem);
  // What systemd cannot take is refused while the agent still runs, and nothing is written or moved.
  unitText({ ...program, home, target: scope.target, config: ` --config ${config}` });
  const keys = writeFlags(config, recallJoin(homes.from));
  if (keys.length > 0) said.push(`wrote ${keys.join(', ')} to ${config}`);
  const decided = scope.isSystem ? chooseJobUser(config, jobsWereRoot(homes.from)) : null;
  if (decided !== null) said.push(decided);
  const isOurs = existsSync(scope.unitFile) && (await stateOf(scope)) === 'active';
  if (!isOurs && (await endAgent(homes.from))) said.push('ended the agent that ran in a terminal');
  if (runs > 0)
    said.push(
      `left this machine's home at ${home}, where ${plural(runs, 'job')} ${runs === 1 ? 'has' : 'have'} not ended`,
    );
  else if (homes.from !== homes.to) {
    moveHome(homes.from, homes.to);
    said.push(`moved this machine's identity and state from ${homes.from} to ${homes.to}`);
  }
  return { home, config, said };
}

export async function install(context: Context): Promise<number> {
  const scope = scopeOf(context, 'install');
  requireSystemd(scope);
  makeProgramFolder(dirname(scope.program));
  const bin = copyProgram(scope.program);
  const node = nodeFor(scope, context);
  if (scope.isSystem) await makeGroup(context);
  const { home, config, said } = await takeOver(context, scope, { node, bin });
  writeUnit(
    scope.unitFile,
    unitText({ node, bin, home, target: scope.target, config: existsSync(config) ? ` --config ${config}` : '' }),
  );
  await systemctl(scope, 'daemon-reload');
  await systemctl(scope, 'enable', unit);
  await systemctl(scope, 'restart', unit);
  const link = linkProgram(scope, node, bin);
  if (link !== null) said.push(`linked ${link}`);
  for (const sentence of said) context.out.talk(sentence);
  context.out.data(`${unit} is installed, runs now and at boot (${scope.program}, home ${home})`);
  if (!scope.isSystem) context.out.talk('# so that it runs before you log in   -> loginctl enable-linger');
  return exit.ok;
}

/** A command of that name in everybody's (or this user's) PATH, unless there is another one. Null: none was made. */
function linkProgram(scope: Scope, node: string, bin: string): string | null {
  const wrapper = join(scope.program, 'bin', 'autogit-node');
  mkdirSync(dirname(wrapper), { recursive: true, mode: 0o755 });
  writeFileSync(wrapper, `#!/bin/sh\nexec '${node}' '${bin}' "$@"\n`, { mode: 0o755 });
  chmodSync(wrapper, 0o755);
  try {
    if (!isLinkOfOurs(scope) && lstatSync(scope.link, { throwIfNoEntry: false }) !== undefined) return null;
    rmSync(scope.link, { force: true });
    mkdirSync(dirname(scope.link), { recursive: true });
    symlinkSync(wrapper, scope.link);
    return scope.link;
  } catch {
    return null;
  }
}

function isLinkOfOurs({ link, program }: Scope): boolean {
  const found = lstatSync(link, { throwIfNoEntry: false });
  return found?.isSymbolicLink() === true && readlinkSync(link).startsWith(`${dirname(program)}/`);
}

const stateOf = async (scope: Scope): Promise<string> =>
  (await systemctl(scope, 'show', '--property=ActiveState', '--value', unit)).trim();

export async function uninstall(context: Context): Promise<number> {
  const scope = scopeOf(context, 'uninstall');
  requireSystemd(scope);
  if (!existsSync(scope.unitFile))
    throw new AutogitError('no-agent', `no service is installed (${scope.unitFile})`, {
      hint: 'autogit-node service install',
    });
  await systemctl(scope, 'disable', '--now', unit);
  const home = homeIn(scope);
  rmSync(scope.unitFile, { force: true });
  if (isLinkOfOurs(scope)) rmSync(scope.link, { force: true });
  const { removed, kept } = removePrograms(scope.program);
  await systemctl(scope, 'daemon-reload');
  context.out.data(`${unit} is gone; its state stays in ${home}`);
  if (removed.length > 0) context.out.talk(`removed ${removed.map(shown).join(', ')}`);
  for (const path of kept)
    context.out.talk(`kept ${shown(path)}: nothing in it says that service install put it there`);
  return exit.ok;
}

export async function show(context: Context): Promise<number> {
  const scope = scopeOf(context, 'status');
  requireSystemd(scope);
  const isInstalled = existsSync(scope.unitFile);
  const state = isInstalled ? await stateOf(scope) : 'not installed';
  if (context.settings.isOn('json'))
    context.out.json({ installed: isInstalled, state, unit: scope.unitFile, home: homeIn(scope) });
  else context.out.data(`${state}   ${scope.unitFile}`);
  return state === 'active' ? exit.ok : exit.noAgent;
}
