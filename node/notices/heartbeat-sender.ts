import { request, type Sender } from './notice-sender.ts';

/** One beat: healthchecks and the like take a GET; Uptime Kuma's push address is told in words too. */
export const sendHeartbeat: Sender = async (_notice, way, { status, signal }) => {
  const url = new URL(way.url ?? '');
  if (/\/api\/push\/[^/]+$/.test(url.pathname)) {
    url.searchParams.set('status', 'up');
    url.searchParams.set('msg', status?.quorum.sentence.slice(0, 200) ?? 'OK');
  }
  await request(way, { url: url.href, method: 'GET', headers: {}, signal });
};
