import { execFile } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { AutogitError } from '../../protocol/errors.ts';
import { serviceGroup, systemHome, userHome } from '../home.ts';
import { version } from '../version.ts';
import type { Context } from './context.ts';
import { exit } from './failure.ts';
import { copyProgram, unitText, writeUnit } from './service-files.ts';

const run = promisify(execFile);
const unit = 'autogit-node.service';

interface Scope {
  isSystem: boolean;
  unitFile: string;
  program: string;
  home: string;
  target: string;
}

/** --system or --user; without either: system for root, else this user's. Throws `bad-flag` for both. */
function scopeOf({ settings }: Context): Scope {
  const system = settings.isOn('serviceSystem');
  const user = settings.isOn('serviceUser');
  if (system && user) throw new AutogitError('bad-flag', '--system and --user exclude each other');
  const isRoot = process.getuid?.() === 0;
  const isSystem = system || (!user && isRoot);
  if (isSystem && !isRoot)
    throw new AutogitError('bad-flag', 'a system service needs root', {
      hint: 'sudo autogit-node service install --system, or --user',
    });
  const config = process.env.XDG_CONFIG_HOME || join(homedir(), '.config');
  const data = process.env.XDG_DATA_HOME || join(homedir(), '.local', 'share');
  return {
    isSystem,
    unitFile: isSystem ? `/etc/systemd/system/${unit}` : join(config, 'systemd', 'user', unit),
    program: isSystem ? `/opt/autogit-node/${version}` : join(data, 'autogit-node', version),
    home: settings.text('home') ?? (isSystem ? systemHome : userHome(process.env)),
    target: isSystem ? 'multi-user.target' : 'default.target',
  };
}

function requireSystemd({ isSystem }: Scope): void {
  if (existsSync('/run/systemd/system')) return;
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
    const said = (cause as { stderr?: string }).stderr?.trim() || (cause as Error).message;
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
    out.talk(`# no group ${serviceGroup}: ${(error as Error).message}   -> use sudo for autogit-node status`);
  }
}

export async function install(context: Context): Promise<number> {
  const scope = scopeOf(context);
  requireSystemd(scope);
  const bin = copyProgram(scope.program);
  if (scope.isSystem) await makeGroup(context);
  writeUnit(scope.unitFile, unitText({ node: process.execPath, bin, home: scope.home, target: scope.target }));
  await systemctl(scope, 'daemon-reload');
  await systemctl(scope, 'enable', '--now', unit);
  context.out.data(`${unit} is installed and runs (${scope.program}, home ${scope.home})`);
  if (!scope.isSystem) context.out.talk('# so that it runs before you log in   -> loginctl enable-linger');
  return exit.ok;
}

export async function uninstall(context: Context): Promise<number> {
  const scope = scopeOf(context);
  requireSystemd(scope);
  if (!existsSync(scope.unitFile))
    throw new AutogitError('no-agent', `no service is installed (${scope.unitFile})`, {
      hint: 'autogit-node service install',
    });
  await systemctl(scope, 'disable', '--now', unit);
  rmSync(scope.unitFile, { force: true });
  rmSync(scope.program, { recursive: true, force: true });
  await systemctl(scope, 'daemon-reload');
  context.out.data(`${unit} is gone; its state stays in ${scope.home}`);
  return exit.ok;
}

export async function show(context: Context): Promise<number> {
  const scope = scopeOf(context);
  requireSystemd(scope);
  const isInstalled = existsSync(scope.unitFile);
  const state = isInstalled
    ? (await systemctl(scope, 'show', '--property=ActiveState', '--value', unit)).trim()
    : 'not installed';
  if (context.settings.isOn('json'))
    context.out.json({ installed: isInstalled, state, unit: scope.unitFile, home: scope.home });
  else context.out.data(`${state}   ${scope.unitFile}`);
  return state === 'active' ? exit.ok : exit.noAgent;
}
