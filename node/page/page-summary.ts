import type { StatusSnapshot } from '../../protocol/status.ts';
import { usedOf } from '../faces/mesh-words.ts';

/** The mesh in a few flat numbers and words, for widgets of home pages. Fields may be added, never changed. */
export function summaryOf(
  { mesh, seenFrom, ageMs, leader, quorum, nodes, waiting, gitlab, queue, attention }: StatusSnapshot,
  wallMs: number,
) {
  const here = nodes.filter(({ state }) => !['gone', 'suspect', 'waiting'].includes(state));
  const gpus = here.flatMap(({ room }) => room?.gpus ?? []);
  const sum = (values: (number | undefined)[]): number => values.reduce<number>((all, one) => all + (one ?? 0), 0);
  const told = here.map((node) => ({ used: usedOf(node)?.cpuMillis, most: node.capacity?.cpuMillis }));
  const known = told.filter(({ used }) => used !== undefined);
  const [used, most] = [sum(known.map((one) => one.used)), sum(known.map((one) => one.most))];
  const ofSeverity = (severity: string): number => attention.filter((one) => one.severity === severity).length;
  const worst = ['fail', 'warn'].find((severity) => ofSeverity(severity) > 0);
  return {
    mesh: mesh.name,
    state: leader === null || worst === 'fail' ? 'fail' : (worst ?? 'ok'),
    seenFrom,
    ageSeconds: Math.round(ageMs / 1000),
    leader: leader?.node ?? null,
    machines: nodes.length,
    machinesReady: here.length,
    machinesWaiting: waiting.length,
    canLose: quorum.canLose,
    gitlab: gitlab.state,
    gitlabHost: gitlab.host,
    backupAgeHours:
      gitlab.lastBackup === null
        ? null
        : Math.max(0, Math.floor((wallMs - Date.parse(gitlab.lastBackup.at)) / 3_600_000)),
    jobsWaiting: queue.waiting,
    jobsRunning: queue.running,
    jobsDoneToday: queue.doneToday,
    jobsFailedToday: queue.failedToday,
    cpuPercent: most > 0 ? Math.min(100, Math.max(0, Math.round((100 * used) / most))) : null,
    gpus: gpus.length,
    gpusBusy: gpus.filter(({ held, busyPercent, foreign }) => held !== undefined || foreign || busyPercent >= 10)
      .length,
    warnings: ofSeverity('warn'),
    failures: ofSeverity('fail'),
    /** The first thing that a person should look at. */
    attention: (attention.find(({ severity }) => severity === worst) ?? null)?.sentence ?? null,
  };
}
