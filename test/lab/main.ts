import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { parseDuration } from '../../node/settings/quantities.ts';
import { heal, kill, partition, plug, reboot, resume, start, suspend, unplug } from './faults.ts';
import { hostingScenario } from './hosting/scenario.ts';
import { buildLab, Lab } from './lab.ts';
import { LabRefusal, labNames, labRoot } from './lab-file.ts';
import { insideOf } from './lab-init.ts';
import { removeLabs } from './lab-removal.ts';
import { labStatus } from './lab-status.ts';

const usage = `npm run lab -- COMMAND: machines in miniature on this computer, each with a network and a Docker Engine of its own (as root)

  up [N] [--name NAME]           N machines (3): kang, desktop-1, …; one mesh, a practice GitLab on kang
  status                         machines, who leads, runs, faults in force
  kill NAME [--machine|--engine] kill -9 of the agent; --machine: engine, containers and all at once;
                                 --engine: its Docker Engine alone, containers go on
  start NAME                     what was killed starts again
  reboot NAME                    all of it dies and comes back with the same disk
  suspend NAME | resume NAME     SIGSTOP of all its processes; the kernel still accepts connections
  unplug NAME | plug NAME        its cable
  partition A B [--one-way]      A and B hear nothing of each other; --one-way: B hears nothing of A
  heal                           all cables in, all partitions ended
  exec NAME -- COMMAND…          inside the machine; autogit-node, docker and git are the machine's
  hosting [--only CASE,CASE]     a lab of its own in which GitLab is hosted on kang, and what may happen to it: a line for each
                                 case with what was seen; exit 1 when one is not as it has to be; --keep leaves the lab up
  hosting --only probe           writers at every address while machines are cut off, stopped and killed at random, for --for TIME
                                 (3m; 90m), by --seed N (1); never two may acknowledge
  down                           removes everything of every lab, also after a crash`;

const say = (line: string): void => void process.stdout.write(`lab: ${line}\n`);

/**
 * Ctrl-C, or whoever ends us, takes what we have begun along: machines are sessions of their own, and would live on. By another
 * process, which this one waits for without doing anything else, so that nothing is begun behind its back.
 */
function removedWhenInterrupted(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => {
      say('interrupted: what was begun is removed');
      // In a session of its own, so that a second Ctrl-C leaves nothing half removed.
      const down = ['--wait', process.execPath, process.argv[1] as string, 'down'];
      spawnSync('setsid', down, { stdio: 'inherit' });
      process.exit(130);
    });
}

async function up(count: string | undefined, name: string): Promise<void> {
  if (!/^[a-z0-9][a-z0-9-]{0,15}$/.test(name)) throw new LabRefusal('a lab is called by a-z, 0-9 and -, at most 16');
  demandPrograms();
  if (!process.env.AUTOGIT_KEEP) removedWhenInterrupted();
  try {
    await buildLab(Number(count ?? 3), name, say);
  } catch (error) {
    if (!process.env.AUTOGIT_KEEP) await removeLabs();
    throw error;
  }
  say('up. Try: npm run lab -- status | kill kang | exec kang -- autogit-node status | down');
}

function demandPrograms(): void {
  if (labNames().length > 0) throw new LabRefusal('a lab is up already, or was left over: npm run lab -- down');
  for (const program of ['dockerd', 'containerd', 'docker', 'iptables', 'nsenter', 'ip'])
    if (spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0)
      throw new LabRefusal(`the lab needs ${program}: apt-get install docker.io iptables iproute2`);
}

/** Each case of hosting, or those that are named; what it built goes, whatever comes of it. */
async function hosting({ only, keep, for: time = '3m', seed = '1' }: Flags): Promise<number> {
  if (!/^[1-9]\d{0,3}[smh]$/.test(time)) throw new LabRefusal(`--for ${time}: a number with s, m or h, as 90m`);
  if (!/^\d{1,9}$/.test(seed)) throw new LabRefusal(`--seed ${seed}: a number of at most nine digits`);
  demandPrograms();
  if (!keep) removedWhenInterrupted();
  try {
    const probe = { forMs: parseDuration(time), seed: Number(seed) };
    return (await hostingScenario(only?.split(',') ?? [], probe, say)) ? 0 : 1;
  } finally {
    if (!keep) await removeLabs();
  }
}

/** Everything behind the machine's name belongs to its command, options included. */
function exec(lab: Lab, [name, ...command]: readonly string[]): number {
  const machine = lab.machine(name);
  const PATH = `${join(labRoot, lab.file.name, 'bin')}:${process.env.PATH}`;
  const [file, ...args] = insideOf(machine.namespace, command.length > 0 ? command : ['sh']);
  const env = { ...process.env, ...machine.agent.env, PATH, GITLAB_TOKEN: lab.file.gitlab?.token };
  const { status, error } = spawnSync(file, args, { stdio: 'inherit', env });
  if (error) throw error;
  return status ?? 1;
}

async function change(command: string, names: readonly string[], flags: Flags): Promise<string> {
  const lab = Lab.open();
  if (command === 'heal') return heal(lab);
  const machine = lab.machine(names[0]);
  if (command === 'kill') return kill(lab, machine, flags.machine ? 'machine' : flags.engine ? 'engine' : 'agent');
  if (command === 'partition') return partition(lab, machine, lab.machine(names[1]), flags['one-way'] === true);
  const simple = { start, reboot, suspend, resume, unplug, plug };
  if (!Object.hasOwn(simple, command)) throw new LabRefusal(`there is no command ${command}\n${usage}`);
  return simple[command as keyof typeof simple](lab, machine);
}

interface Flags {
  name?: string;
  machine?: boolean;
  engine?: boolean;
  'one-way'?: boolean;
  only?: string;
  keep?: boolean;
  for?: string;
  seed?: string;
}

async function main(words: string[]): Promise<number> {
  const [command = 'help', ...rest] = words;
  if (command === 'help' || words.includes('--help')) {
    process.stdout.write(`${usage}\n`);
    return 0;
  }
  if (process.getuid?.() !== 0)
    throw new LabRefusal(
      'the lab makes network namespaces and starts Docker Engines, so it needs root: sudo npm run lab',
    );
  if (command === 'exec')
    return exec(
      Lab.open(),
      rest.filter((word, i) => !(word === '--' && i <= 1)),
    );
  const { values, positionals } = parseArgs({
    args: rest,
    allowPositionals: true,
    options: {
      name: { type: 'string' },
      machine: { type: 'boolean' },
      engine: { type: 'boolean' },
      'one-way': { type: 'boolean' },
      only: { type: 'string' },
      keep: { type: 'boolean' },
      for: { type: 'string' },
      seed: { type: 'string' },
    },
  });
  if (command === 'hosting') return hosting(values);
  if (command === 'up') await up(positionals[0], values.name ?? 'home');
  else if (command === 'status') process.stdout.write(`${await labStatus(Lab.open())}\n`);
  else if (command === 'down') {
    const { machines, processes, labs } = await removeLabs();
    say(labs.length === 0 && machines === 0 ? 'nothing was up' : `down: ${machines} machines, ${processes} processes`);
  } else say(await change(command, positionals, values));
  return 0;
}

try {
  process.exit(await main(process.argv.slice(2)));
} catch (error) {
  const isOurs = error instanceof LabRefusal || (error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS');
  process.stderr.write(`lab: ${isOurs ? (error as Error).message : ((error as Error).stack ?? error)}\n`);
  process.exit(1);
}
