import type { MetricsApi } from '../local-api/agent-api.ts';
import type { AddedPath, PageAnswer } from '../page/page-types.ts';

const plain = 'text/plain; charset=utf-8';

/** What programs and people read at the page's door beside the page: `/metrics` with a viewer's key; the runbook, which is no secret. */
export const metricsPaths = (metrics: () => MetricsApi): AddedPath[] => [
  {
    path: '/metrics',
    methods: ['GET'],
    role: 'viewer',
    answer: async () => ({
      status: 200,
      type: 'text/plain; version=0.0.4; charset=utf-8',
      body: await metrics().metricsText(),
    }),
  },
  { path: '/runbook', methods: ['GET'], role: 'anybody', answer: () => runbookPage('') },
  {
    path: '/runbook/',
    methods: ['GET'],
    role: 'anybody',
    answer: ({ path }) => runbookPage(path.slice('/runbook/'.length)),
  },
];

/** All of it, or one entry by its name. */
async function runbookPage(name: string): Promise<PageAnswer> {
  const { entryIn, namesIn, readRunbook } = await import('../metrics/runbook.ts');
  const runbook = readRunbook();
  const text = name === '' ? runbook : entryIn(runbook, name);
  if (text !== null) return { status: 200, type: plain, body: `${text}\n` };
  return {
    status: 404,
    type: plain,
    body: `The runbook has no such entry. It has:\n\n${namesIn(runbook).join('\n')}\n`,
  };
}
