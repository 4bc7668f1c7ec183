import { callTally } from '../../gitlab-bridge/call-tally.ts';
import type { JobRow } from '../../protocol/job-rows.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import type { ViewInput } from '../../scheduler/snapshot.ts';
import { counts } from '../metrics/counts.ts';
import type { Seen } from '../metrics/family.ts';
import { version } from '../version.ts';

interface MetricsOptions {
  /** Null while this machine waits to be let in. */
  view(): ViewInput | null;
  status(): Promise<StatusSnapshot>;
  jobs(): Promise<JobRow[]>;
}

/** What Prometheus is told, when it asks. */
export class MetricsRequests {
  readonly #options: MetricsOptions;

  constructor(options: MetricsOptions) {
    this.#options = options;
  }

  /** In Prometheus' text format 0.0.4. */
  async metricsText(): Promise<string> {
    const { exposition } = await import('../metrics/exposition.ts');
    const mesh = await this.#mesh();
    const { user, system } = process.cpuUsage();
    const { rss, heapUsed } = process.memoryUsage();
    return exposition({
      version,
      nodeVersion: process.version,
      process: {
        cpuSeconds: (user + system) / 1e6,
        residentBytes: rss,
        heapBytes: heapUsed,
        startedAt: Math.round(Date.now() / 1000 - process.uptime()),
      },
      counts,
      calls: callTally,
      mesh,
    });
  }

  async #mesh(): Promise<Seen['mesh']> {
    const view = this.#options.view();
    if (view === null) return null;
    const [status, jobs] = await Promise.all([this.#options.status(), this.#options.jobs()]);
    const measured = new Map(Object.entries(view.jobs.reports).map(([node, { report }]) => [node, report.measured]));
    const nodes = Object.entries(view.ledger?.nodes ?? {});
    const left = new Set(nodes.filter(([, node]) => node.left).map(([id]) => id));
    return { status, jobs, measured, left, wallMs: view.wallMs };
  }
}
