import { install } from '../../bench/debian.ts';
import { hostingPrograms } from '../../hosting/stand/programs.ts';
import { buildLab } from '../lab.ts';
import { LabRefusal } from '../lab-file.ts';
import { awayCases, twoDieCase } from './away-cases.ts';
import { dataCases } from './data-cases.ts';
import { HostedLab, seconds, WrongHere } from './hosted-lab.ts';
import { httpsCase } from './https-case.ts';
import { mountDisks } from './lab-disks.ts';
import { lostCases } from './lost-cases.ts';
import { type LabCase, machineCases } from './machine-cases.ts';
import { type ProbeWish, probeCase } from './probe-case.ts';

const usual: readonly LabCase[] = [...machineCases, ...dataCases, ...lostCases];
/** What the others stand on. */
const first = 'deploy';

/** `only`: names of cases, in the order of the table; deploying is always done; https, the probe and what makes GitLab move only where they are named. */
function chosen(only: readonly string[], wish: ProbeWish): readonly LabCase[] {
  if (only.length === 0) return usual;
  // Where every store is lost the mesh is another one afterwards, of fewer machines.
  const cases = [...machineCases, ...dataCases, ...awayCases, httpsCase, probeCase(wish), ...lostCases];
  const lines = cases.map(({ name, what }) => `  ${name.padEnd(14)} ${what}`).join('\n');
  const unknown = only.find((name) => !cases.some((one) => one.name === name));
  if (unknown !== undefined) throw new LabRefusal(`there is no case ${unknown}. There are\n${lines}`);
  return cases.filter(({ name }) => name === first || only.includes(name));
}

/** What kang's agent wrote of late that is no everyday matter: with the lab its log goes. */
const lastWarnings = ({ kang }: HostedLab): string[] =>
  kang.agent
    .log()
    .filter(({ level }) => Number(level) >= 40)
    .slice(-5)
    .map(({ time, msg, event }) => `kang ${new Date(time).toISOString().slice(11, 19)} ${event ?? ''} ${msg ?? ''}`);

/**
 * Three machines, GitLab hosted on the first of them, and what may happen to it: a line for each case with what was seen. Data are
 * compared before and after each. Whether all was as it has to be.
 */
export async function hostingScenario(
  only: readonly string[],
  probe: Pick<ProbeWish, 'forMs' | 'seed'>,
  say: (line: string) => void,
): Promise<boolean> {
  const wanted = chosen(only, { ...probe, say });
  install({ ...hostingPrograms, restic: 'restic', nft: 'nftables', curl: 'curl', openssl: 'openssl' });
  const began = performance.now();
  const count = wanted.some(({ name }) => name === twoDieCase) ? 5 : 3;
  const lab = await buildLab(count, 'hosting', say, { isBare: true, disks: mountDisks });
  const hosted = new HostedLab(lab);
  await hosted.bringImage();
  say(`a stand-in for GitLab's image is in kang's engine; ${seconds(performance.now() - began)} so far`);
  let [right, wrong] = [0, 0];
  for (const { name, run } of wanted) {
    const from = performance.now();
    const line = await run(hosted).then(
      (seen) => {
        right += 1;
        return `ok    ${name.padEnd(14)} ${seconds(performance.now() - from).padStart(7)}  ${seen}`;
      },
      (error: Error) => {
        wrong += 1;
        const what = error instanceof WrongHere ? error.message : (error.stack ?? error.message);
        return `FAIL  ${name.padEnd(14)} ${seconds(performance.now() - from).padStart(7)}  ${what}`;
      },
    );
    say(line);
    if (line.startsWith('FAIL')) for (const told of lastWarnings(hosted)) say(`      ${told}`);
    if (wrong > 0 && name === first) break;
  }
  say(
    `${right} of ${wanted.length} cases as they have to be${right + wrong < wanted.length ? `, ${wanted.length - right - wrong} not run` : ''}, ${seconds(performance.now() - began)} in all`,
  );
  return wrong === 0;
}
