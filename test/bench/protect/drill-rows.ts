import { maxUnder, type Row, row } from '../figures.ts';
import { HostedStage } from './hosted-stage.ts';
import type { ProtectStage } from './protect-stage.ts';

/** What GitLab's container needs until it works is its own. */
const start = ['clone', 'boot'];
const repositories = 56;

/** `gitlab drill` by the published program, of repositories of two and a half times `--size`. Nothing of GitLab's own programs runs: it is the stand-in. */
export async function drillRows({ sizeBytes, trials, say }: ProtectStage): Promise<Row[]> {
  const stage = new HostedStage();
  try {
    await stage.start();
    await stage.addRepositories(repositories, 2.5 * sizeBytes);
    const seconds: number[] = [];
    let steps = '';
    for (let trial = 0; trial < Math.max(1, Math.round(trials / 7)); trial++) {
      const taken = await stage.drill();
      seconds.push(taken.filter(({ step }) => !start.includes(step)).reduce((sum, { ms }) => sum + ms, 0) / 1000);
      steps = taken.map(({ step, ms }) => `${step} ${(ms / 1000).toFixed(1)}`).join(', ');
      say(`  ${steps}`);
    }
    return [
      row({
        measure: `a drill less the container's start, ${((2.5 * sizeBytes) / 2 ** 30).toFixed(1)} GiB`,
        unit: 's',
        ours: seconds,
        targets: [maxUnder(60)],
        note: `${repositories} repositories, a fourteenth of them read whole each time; the last one's seconds: ${steps}`,
      }),
    ];
  } finally {
    await stage.stop();
  }
}
