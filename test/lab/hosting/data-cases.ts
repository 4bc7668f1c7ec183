import { join } from 'node:path';
import { sleep, until } from '../../e2e/rig.ts';
import { kill, start } from '../faults.ts';
import { signalTo } from '../machine-processes.ts';
import { demand, type HostedLab, lastLine, type Pushed, type Said, seconds } from './hosted-lab.ts';
import { empty, fill } from './lab-disks.ts';
import type { LabCase } from './machine-cases.ts';

const MiB = 2 ** 20;
const both = ['desktop-1', 'desktop-2'];

/** The engine's folder of GitLab's logs, which are in no copy: a file that grew there. */
const grown = (hosted: HostedLab): string => join(hosted.place, 'mounted', 'logs', 'grown');
const growTo = (hosted: HostedLab, leaveBytes: number): Promise<string> =>
  hosted.inside(
    hosted.kang,
    `set -eu; touch "$1"; free=$(($(stat -f -c '%a * %S' "$1"))); more=$((free - $2)); size=$(stat -c %s "$1")
if [ "$more" -gt 0 ]; then fallocate --offset "$size" --length "$more" "$1"; fi`,
    grown(hosted),
    String(leaveBytes),
  );
const imageBytes = async (hosted: HostedLab): Promise<number> =>
  Number(await hosted.inside(hosted.kang, 'stat -c %s "$1"', join(hosted.place, 'gitlab.img')));

async function imageAtItsLimit(hosted: HostedLab): Promise<string> {
  const { kang } = hosted;
  const before = await hosted.whole();
  const bytes = await imageBytes(hosted);
  try {
    fill(kang, () => 1500 * MiB);
    await growTo(hosted, 900 * MiB);
    const words = await until('it is said', async () => {
      const { hosted: told } = await hosted.status();
      return /full|free|room/.test(told?.because ?? '') ? told?.because : null;
    });
    const early = await hosted.push('rounds');
    demand(early.code === 0, `a push was refused: ${lastLine(early.stderr)}`);
    demand((await imageBytes(hosted)) === bytes, 'the image took room that the machine keeps for its owner');
    await growTo(hosted, 300 * MiB);
    // Nothing is copied any more: whoever pushes waits, and is told why.
    let ended: Pushed | null = null;
    const push = hosted.push('rounds', 'desktop-2', 150).then((one) => (ended = one));
    await sleep(8000);
    demand(ended === null || (ended as Pushed).code === 0, `a push ended with ${(ended as Pushed | null)?.code}`);
    const waited = ended === null;
    const meter = await hosted.loss();
    empty(kang);
    const one = await push;
    demand(one.code === 0, `with room again the push ended with ${one.code}: ${lastLine(one.stderr)}`);
    await until('the image has grown', async () => (await imageBytes(hosted)) > bytes, 60_000);
    await hosted.inSync(both);
    const larger = (((await imageBytes(hosted)) - bytes) / MiB).toFixed(0);
    return `"${words}"; a push then ${waited ? `waited, "${firstRemote(one)}", and ended ${seconds(one.ms)} after it began` : `took ${seconds(one.ms)}`} ("${meter}"); with room below the image grew by ${larger} MiB by itself; ${await hosted.nothingLost(before, [hosted.lab.machine('desktop-1')])}`;
  } finally {
    empty(kang);
    await hosted.inside(kang, 'rm -f "$1"', grown(hosted));
  }
}

const firstRemote = ({ stderr }: Said): string => /^remote: (.*)$/m.exec(stderr)?.[1]?.trim() ?? lastLine(stderr);

async function standbyFull(hosted: HostedLab): Promise<string> {
  const [desktop, other] = both.map((name) => hosted.lab.machine(name));
  if (desktop === undefined || other === undefined) throw new Error('no standbys');
  fill(desktop, (total) => total * 0.02);
  try {
    const first = await hosted.push('rounds');
    demand(first.code === 0, `a push was refused: ${lastLine(first.stderr)}`);
    demand(!first.stderr.includes('one machine only'), 'desktop-2 is in sync, and the pusher reads otherwise');
    const because = await until(
      'it is called full',
      async () =>
        (await hosted.status()).standbys?.find((row) => row.node === 'desktop-1' && row.state === 'full')?.because,
    );
    const said = await hosted.loss();
    demand(/no push lost/.test(said), said);
    await hosted.gitlab.push('while-it-was-full', { 'readme.md': 'made while the disk was full' });
    const before = await hosted.whole();
    empty(desktop);
    const back = await hosted.inSync(both);
    return `first push ${seconds(first.ms)}; desktop-1: "${because}"; "${said}"; with room again in sync after ${seconds(back)}; ${await hosted.nothingLost(before, [desktop, other])}`;
  } finally {
    empty(desktop);
  }
}

const target = (hosted: HostedLab): string => join(hosted.kang.dir, 'backups');

/** Names the place of backups, unless a case before this one did. */
async function firstBackup(hosted: HostedLab): Promise<void> {
  if (hosted.recoveryKey !== null) return;
  const { stdout } = await hosted.done(hosted.kang, '--json', '--yes', 'gitlab', 'backup', '--to', target(hosted));
  hosted.recoveryKey = (JSON.parse(stdout) as { recoveryKey: string }).recoveryKey;
}

async function twoOperators(hosted: HostedLab): Promise<string> {
  const { kang, lab } = hosted;
  const desktop = lab.machine('desktop-1');
  demand(hosted.recoveryKey === null, 'a place for backups is named already');
  const backups = await Promise.all(
    [kang, desktop].map((at) => hosted.cli(at, '--json', '--yes', 'gitlab', 'backup', '--to', target(hosted))),
  );
  demand(
    backups.some(({ code }) => code === 0),
    `of two backups at once none was made: ${backups.map(({ stderr }) => lastLine(stderr)).join('; ')}`,
  );
  const made = JSON.parse(backups.find(({ code }) => code === 0)?.stdout ?? '{}') as {
    id: string;
    recoveryKey: string;
  };
  hosted.recoveryKey = made.recoveryKey;
  const before = await hosted.whole();
  const restores = await Promise.all(
    [kang, desktop].map((at) => hosted.cli(at, '--yes', 'gitlab', 'restore', made.id)),
  );
  demand(
    restores.some(({ code }) => code === 0),
    `of two restores at once none was made: ${restores.map(({ stderr }) => lastLine(stderr)).join('; ')}`,
  );
  await hosted.served();
  const { epoch } = await hosted.status();
  demand(epoch === before.epoch + 1, `two restores at once made epoch ${epoch} of ${before.epoch}`);
  const back = await hosted.cli(desktop, '--yes', 'gitlab', 'restore', `replaced-${before.epoch}`);
  demand(back.code === 0, `what was before does not come back: ${lastLine(back.stderr)}`);
  await hosted.served();
  const same = await hosted.nothingLost(before);
  const copies = await Promise.all([
    hosted.cli(kang, '--yes', 'gitlab', 'copies', 'remove', 'desktop-2'),
    hosted.cli(desktop, '--yes', 'gitlab', 'copies', 'add', 'desktop-2'),
  ]);
  // Whoever adds while what was there is being deleted reads so, and types it again.
  const refusals = new Set(copies.filter(({ code }) => code !== 0).map(({ stderr }) => lastLine(stderr)));
  const isAdded = async (): Promise<boolean> => {
    const { code, stderr } = await hosted.cli(kang, '--yes', 'gitlab', 'copies', 'add', 'desktop-2');
    if (code !== 0) refusals.add(lastLine(stderr));
    return code === 0;
  };
  await until('desktop-2 may hold copies again', isAdded, 30_000);
  const strange = [...refusals].filter((said) => !/type the same command again/.test(said));
  demand(strange.length === 0, `copies removed and added at once: ${strange.join('; ')}`);
  const synced = await hosted.inSync(both);
  return `two backups at once: ${endsOf(backups)}; two restores at once: ${endsOf(restores)}, one epoch more; back by replaced-${before.epoch}: ${same}; copies removed and added at once: ${endsOf(copies)}, in sync after ${seconds(synced)}`;
}

const endsOf = (all: readonly Said[]): string =>
  all.map(({ code, stderr }) => (code === 0 ? 'done' : `refused ("${lastLine(stderr)}")`)).join(' and ');

/** ms after a backup began. */
const cuts = [150, 600, 1500] as const;

async function backupInterrupted(hosted: HostedLab): Promise<string> {
  const { kang, lab } = hosted;
  const file = join(hosted.place, 'mounted', 'bulk', 'artifacts', 'large');
  await hosted.inside(kang, 'mkdir -p "$(dirname "$1")"; head -c 50000000 /dev/urandom > "$1"', file);
  await firstBackup(hosted);
  const before = await hosted.whole();
  const told: string[] = [];
  for (const ms of cuts) {
    await hosted.inside(kang, 'head -c 50000000 /dev/urandom > "$1"', `${file}-${ms}`);
    const backup = hosted.cli(kang, 'gitlab', 'backup');
    await sleep(ms);
    await kill(lab, kang, 'agent');
    told.push(lastLine((await backup).stderr));
    await start(lab, kang);
    // By the lease of before GitLab serves on for a moment, and nobody would hear the next command.
    await until('its agent is back', async () => (await hosted.status()).state === 'healthy');
  }
  await hosted.inside(kang, 'head -c 50000000 /dev/urandom > "$1"', `${file}-restic`);
  let ended: Said | null = null;
  const backup = hosted.cli(kang, 'gitlab', 'backup').then((said) => (ended = said));
  await until('restic runs', () => restics(hosted).length > 0 || ended, 15_000);
  demand(ended === null, `a backup ended before its restic was seen: ${ended && lastLine((ended as Said).stderr)}`);
  signalTo(restics(hosted), 'SIGKILL');
  const killed = await backup;
  demand(killed.code !== 0, 'a backup whose restic was killed is called made');
  const now = await hosted.whole();
  const last = JSON.parse((await hosted.done(kang, '--json', 'gitlab', 'backup')).stdout) as { id: string };
  const restored = await hosted.restored(target(hosted), last.id);
  hosted.compare(now, restored, 'the backup after them');
  await hosted.inSync(both);
  return `agent killed ${cuts.map((ms) => `${ms} ms`).join(', ')} after it began ("${told.at(-1)}"), then restic ("${lastLine(killed.stderr)}"): the next is whole (restic check, its database started, all compared); ${await hosted.nothingLost(before)}`;
}

const restics = ({ kang }: HostedLab) =>
  kang.processes().filter(({ command }) => /(^|\/)restic$/.test(command[0] ?? ''));

async function targetLost(hosted: HostedLab): Promise<string> {
  const { kang } = hosted;
  const before = await hosted.whole();
  await firstBackup(hosted);
  await hosted.inside(kang, 'mv "$1" "$1-away"; mkdir "$1"', target(hosted));
  const away = await hosted.cli(kang, 'gitlab', 'backup');
  const left = await hosted.inside(kang, 'ls -A "$1"; rmdir "$1"; mv "$1-away" "$1"', target(hosted));
  demand(away.code !== 0 && left.trim() === '', `a backup to an empty mount point: ${away.code}, ${left.trim()}`);
  const back = await hosted.done(kang, '--yes', 'gitlab', 'backup');
  return `away: "${lastLine(away.stderr)}"; nothing was written there; back: "${lastLine(back.stdout)}"; ${await hosted.nothingLost(before)}`;
}

async function targetFull(hosted: HostedLab): Promise<string> {
  const { kang } = hosted;
  const before = await hosted.whole();
  const small = join(kang.dir, 'small');
  await hosted.inside(kang, 'mkdir -p "$1"; mount -t tmpfs -o size=3m small "$1"', small);
  const from = performance.now();
  const full = await hosted.cli(kang, '--yes', 'gitlab', 'backup', '--to', join(small, 'backups'));
  const took = performance.now() - from;
  demand(full.code !== 0, 'a backup onto a full disk is called made');
  demand(/space|full|room/i.test(full.stderr), `it is not said that the disk is full: ${lastLine(full.stderr)}`);
  return `"${lastLine(full.stderr)}" after ${seconds(took)}; ${await hosted.nothingLost(before)}`;
}

export const dataCases: readonly LabCase[] = [
  { name: 'image-full', what: "the image of GitLab's data at its limit", run: imageAtItsLimit },
  { name: 'standby-full', what: "a standby's disk full", run: standbyFull },
  { name: 'operators', what: 'two operators at once', run: twoOperators },
  { name: 'backup', what: 'a backup interrupted at any point', run: backupInterrupted },
  { name: 'target', what: 'the place of the backups away', run: targetLost },
  { name: 'target-full', what: 'the place of the backups full', run: targetFull },
];
