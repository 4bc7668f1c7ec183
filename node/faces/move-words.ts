import type { MovePlan } from '../local-api/socket-protocol.ts';
import { showDuration } from '../settings/quantities.ts';

/** What is asked before GitLab is moved by a person, in a terminal and on the page. */
export function moveQuestion({ host, to, url, isOtherUrl, awayMs }: Omit<MovePlan, 'lines'>): string {
  const away = awayMs === null ? '' : ` for about ${showDuration(awayMs)}`;
  const address = isOtherUrl ? ` Its address becomes ${url}.` : '';
  return `Move GitLab from ${host} to ${to}? Nothing is lost; nobody is served${away}, as long as it takes to start; jobs that run go on meanwhile.${address}`;
}
