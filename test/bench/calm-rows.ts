import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep } from '../e2e/rig.ts';
import type { Agents } from './agents.ts';
import { maxUnder, type Row, row } from './figures.ts';
import { Serf } from './serf.ts';
import type { Stage } from './stage.ts';

const burners = 16;
const stopMs = 300;

/** 16 programs that only count, and one that writes 300 MiB to the disk again and again. */
async function underLoad(seconds: number): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'autogit-bench-load-'));
  const children: ChildProcess[] = [];
  for (let i = 0; i < burners; i++) children.push(spawn(process.execPath, ['-e', 'for(;;);'], { stdio: 'ignore' }));
  const write = `while dd if=/dev/zero of=${dir}/w bs=1M count=300 conv=fsync 2>/dev/null; do :; done`;
  const writer = spawn('bash', ['-c', write], { stdio: 'ignore', detached: true });
  try {
    await sleep(seconds * 1000);
  } finally {
    for (const child of children) child.kill('SIGKILL');
    // dd is the shell's child: both, by their group.
    if (writer.pid !== undefined) process.kill(-writer.pid, 'SIGKILL');
    await sleep(300);
    rmSync(dir, { recursive: true, force: true });
  }
}

async function stopFor(pid: number, ms: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  await sleep(ms);
  process.kill(pid, 'SIGCONT');
  await sleep(1500);
}

/** Terms that somebody began to lead since then: each is one change of leader. */
function changesSince(agents: Agents, since: number): number {
  const terms = agents.all.flatMap(({ events }) => events.since(since, 'leader-elected').map((line) => line.term));
  return new Set(terms).size;
}

const alarms = ['node-lost', 'node-suspect', 'leader-lost'];
const alarmsSince = (agents: Agents, since: number): number =>
  agents.all.reduce((sum, { events }) => sum + events.since(since, ...alarms).length, 0);

interface Counted {
  loaded: number;
  stopped: number;
  alarms: number;
}

async function oursThrough({ agents, stressSeconds, trials, say }: Stage): Promise<Counted> {
  await agents.leader();
  const began = Date.now();
  await underLoad(stressSeconds);
  await agents.leader();
  const loaded = changesSince(agents, began);
  await sleep(2000);
  const calm = Date.now();
  for (let stop = 0; stop < trials; stop++) {
    const leader = await agents.leader();
    await stopFor(leader.machine.process?.pid as number, stopMs);
  }
  const counted = { loaded, stopped: changesSince(agents, calm), alarms: alarmsSince(agents, began) };
  say(`  ours: ${JSON.stringify(counted)}`);
  return counted;
}

/** etcd, and serf beside it, through the same. */
async function peersThrough({ lan, etcd, stressSeconds, trials, say }: Stage): Promise<[Counted, Counted]> {
  await etcd.thaw();
  const serf = new Serf(lan, 'direct');
  try {
    await serf.formed(60_000);
    await sleep(2000);
    const before = etcd.elections;
    await underLoad(stressSeconds);
    const leader = await etcd.leader();
    const loaded = { etcd: etcd.elections - before, serf: serf.failures.length };
    await etcd.put(leader, 'calm', 'again');
    await sleep(2000);
    for (let stop = 0; stop < trials; stop++) {
      await stopFor(etcd.pid(await etcd.leader()), stopMs);
      await stopFor(serf.pids()[stop % 3] as number, stopMs);
    }
    const all = etcd.elections - before;
    etcd.freeze();
    const failures = serf.failures.length;
    const counted: [Counted, Counted] = [
      { loaded: loaded.etcd, stopped: all - loaded.etcd, alarms: 0 },
      { loaded: loaded.serf, stopped: failures - loaded.serf, alarms: failures },
    ];
    say(`  etcd and serf: ${JSON.stringify(counted)}`);
    return counted;
  } finally {
    await serf.stop();
  }
}

/** Row 3, and the false alarms of row 6: nothing fails here, whatever it looks like. */
export async function calmRows(stage: Stage): Promise<Row[]> {
  const ours = await oursThrough(stage);
  const [etcd, serf] = await peersThrough(stage);
  const name = 'etcd 100/1000 pre-vote';
  const targets = [maxUnder(0)];
  return [
    row({
      measure: `leader changes when nothing failed: ${stage.stressSeconds} s of ${burners} CPU burners and a disk writer`,
      unit: 'changes',
      ours: [ours.loaded],
      against: { name, values: [etcd.loaded] },
      targets,
    }),
    row({
      measure: `leader changes when nothing failed: ${stage.trials} stops of the leader for ${stopMs} ms`,
      unit: 'changes',
      ours: [ours.stopped],
      against: { name, values: [etcd.stopped] },
      targets,
    }),
    row({
      measure: 'machines reported lost or suspect when nothing failed: the same load and stops',
      unit: 'alarms',
      ours: [ours.alarms],
      against: { name: 'serf LAN', values: [serf.alarms] },
      targets,
    }),
  ];
}
