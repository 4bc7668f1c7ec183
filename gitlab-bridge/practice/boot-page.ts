import type { ServerResponse } from 'node:http';

/** What nginx answers while Rails boots: an HTML page with status 502, also on API paths. */
export const bootPage = (response: ServerResponse): void => {
  const html =
    '<!DOCTYPE html>\n<html>\n<head><title>GitLab is not responding (502)</title></head>\n<body>\n<h1>502</h1>\n' +
    '<h3>Waiting for GitLab to boot</h3>\n<p>It can take 3-5 minutes to boot completely. (practice GitLab, not GitLab)</p>\n</body>\n</html>\n';
  response.writeHead(502, {
    'Content-Type': 'text/html; charset=utf-8',
    'Content-Length': Buffer.byteLength(html),
    'X-Practice-GitLab': 'practice GitLab, not GitLab',
    Connection: 'close',
  });
  response.end(html);
};
