import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../../e2e/rig.ts';
import { cutPower } from '../faults.ts';
import { formMesh } from '../lab.ts';
import { detachBelow, unmountBelow } from '../lab-engine.ts';
import type { LabMachine } from '../lab-machine.ts';
import { asLab, demand, type HostedLab, lastLine, seconds } from './hosted-lab.ts';
import { diskOf, mountDisk } from './lab-disks.ts';
import type { LabCase } from './machine-cases.ts';

/** What an agent keeps goes; disks stay, with what lies on them of GitLab. */
function loseStore(machine: LabMachine): void {
  const { home } = machine.agent;
  for (const entry of readdirSync(home)) {
    const path = join(home, entry);
    if (path !== diskOf(machine)) rmSync(path, { recursive: true, force: true });
  }
}

/** Power is cut everywhere and every store is lost; then a new mesh is begun on the first of these, and the others join it. */
async function newMesh({ lab }: HostedLab, machines: readonly LabMachine[]): Promise<void> {
  for (const machine of lab.machines) await cutPower(lab, machine);
  // What outlives that in this kernel would hold the room of an image that a person deletes.
  for (const { dir, name } of lab.machines) {
    detachBelow(dir);
    unmountBelow(dir);
    await until(`no image of ${name} is attached`, () => detachBelow(dir) === 0);
  }
  for (const machine of lab.machines) loseStore(machine);
  for (const machine of machines) {
    mountDisk(machine);
    lab.newBoot(machine);
    lab.lan.add(lab.number(machine));
    await machine.engine.start();
    machine.startAgent(lab.boot(machine), machine === machines[0] ? ['--new', 'home-again'] : []);
  }
  await formMesh(lab, () => undefined, true, machines);
}

async function regained(hosted: HostedLab, host: LabMachine, place: string): Promise<string> {
  const from = performance.now();
  hosted.runsOn(host, place);
  const said = await hosted.cli(host, '--yes', 'gitlab', 'adopt', '--data', place, ...asLab());
  demand(said.code === 0, `adopt --data: ${lastLine(said.stderr)}\n${said.stdout}${said.stderr}`);
  await hosted.served();
  const took = seconds(performance.now() - from);
  // Its Puma begins anew once the mesh has set it up.
  await until('it is healthy', async () => (await hosted.status()).state === 'healthy', 60_000);
  await hosted.served();
  return took;
}

async function allLost(hosted: HostedLab): Promise<string> {
  const { lab, kang } = hosted;
  const desktops = [lab.machine('desktop-1'), lab.machine('desktop-2')] as const;
  const before = await hosted.whole();
  await newMesh(hosted, [kang, ...desktops]);
  const took = await regained(hosted, kang, hosted.place);
  const after = await hosted.nothingLost(before);
  const { epoch } = await hosted.status();
  demand(epoch > before.epoch, `epoch ${epoch} is not above that of before, ${before.epoch}`);
  // Its Puma may begin anew once more, as the mesh sets it up.
  await until('a push is taken', async () => (await hosted.push('rounds')).code === 0, 30_000);
  const names = desktops.map(({ name }) => name);
  for (const desktop of desktops) {
    // What it held for the mesh that is gone is deleted on a person's word alone, and that word is told.
    const refused = await hosted.cli(kang, '--yes', 'gitlab', 'copies', 'add', desktop.name);
    const word = /fix: once nobody needs them, there: sudo sh -c "(.*)"$/m.exec(refused.stderr)?.[1];
    demand(refused.code !== 0 && word !== undefined, `copies of another mesh are taken for ours: ${refused.stderr}`);
    await hosted.inside(desktop, word as string);
    const added = await hosted.cli(kang, '--yes', 'gitlab', 'copies', 'add', desktop.name);
    demand(added.code === 0, `copies add ${desktop.name}: ${added.stderr}`);
  }
  const synced = await hosted.inSync(names);
  return `${took} from the command to GitLab serving, epoch ${before.epoch} then ${epoch}: ${after}; copies to both in sync after ${seconds(synced)}`;
}

async function copiesLeft(hosted: HostedLab): Promise<string> {
  const { lab } = hosted;
  const [first, second] = [lab.machine('desktop-1'), lab.machine('desktop-2')];
  await hosted.inSync([first.name]);
  const before = await hosted.whole();
  const place = await hosted.copiesFolder(first);
  await newMesh(hosted, [first, second]);
  hosted.host = first;
  await hosted.bringImage();
  const took = await regained(hosted, first, place);
  const after = await hosted.nothingLost(before);
  return `${took} from the command to GitLab serving on ${first.name} from its copies: ${after}`;
}

export const lostCases: readonly LabCase[] = [
  { name: 'all-lost', what: "every store lost, GitLab's data left on its machine", run: allLost },
  { name: 'copies-left', what: "every store lost, and GitLab's machine: its copies alone are left", run: copiesLeft },
];
