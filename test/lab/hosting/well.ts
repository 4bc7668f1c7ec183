import type { StatusSnapshot } from '../../../protocol/status.ts';
import { sleep, until } from '../../e2e/rig.ts';
import { type HostedLab, seconds, WrongHere } from './hosted-lab.ts';

type Told = StatusSnapshot['gitlab'];

/** On a machine that much else computes on, too. */
const wellMs = 300_000;

/** What the machines say of GitLab, where all name one host and epoch, and none knows of a move. How the last move ended is told on and on. */
export function agreed(told: readonly Told[]): (Told & { host: string }) | null {
  const [first] = told;
  const isOne = told.every(({ host, epoch, move }) => host === first?.host && epoch === first?.epoch && !move?.wish);
  return isOne && first?.host != null ? { ...first, host: first.host } : null;
}

/** Who hosts, as all machines say; it serves, and some other machine is in sync: whatever comes next, it can go on there. */
async function isWell(hosted: HostedLab): Promise<string | null> {
  const now = agreed(await Promise.all(hosted.lab.machines.map((machine) => hosted.status(machine))));
  if (now === null || !(await hosted.isServed())) return null;
  if (now.standbys?.some((row) => row.inSync)) return now.host;
  // Out three times within an hour: pushes wait for none of them again until then, but by the word of another agent.
  if (now.standbys?.every(({ state }) => state === 'behind')) {
    const machine = hosted.lab.machine(now.host);
    await machine.killAgent();
    await hosted.lab.start(machine);
  }
  await hosted.push('rounds', 'desktop-2', 20).catch(() => undefined);
  return null;
}

/** Who hosts, once GitLab can go on elsewhere. What each machine says, where that is not so in time. */
export async function well(hosted: HostedLab): Promise<string> {
  const name = 'GitLab serves, and another machine is in sync';
  const look = async (): Promise<string | null> => {
    const host = await isWell(hosted).catch(() => null);
    // Each look is three questions, a program and mostly a push: what is waited for needs the processor more.
    if (host === null) await sleep(500);
    return host;
  };
  const found = await until(name, look, wellMs).catch(() => null);
  if (found !== null) return found;
  const told = hosted.lab.machines.map(async (machine) => {
    const { host, epoch, hosted: here, standbys = [] } = await hosted.status(machine);
    const rows = standbys.map((row) => `${row.node} ${row.state}: ${row.because}`).join('; ');
    return `${machine.name}: ${host} in epoch ${epoch}, ${here?.because}; ${rows}`;
  });
  const said = await Promise.all(told.map((one) => one.catch((error: Error) => error.message)));
  throw new WrongHere(`not within ${seconds(wellMs)}: ${name} (${await hosted.isServed()}). ${said.join(' | ')}`);
}
