import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { environmentProxy, parseProxy } from '../../../../src/watch/kubernetes-api/proxy.ts';

const PROXY = 'http://proxy:3128';
const chosen = (server: string, noProxy = '') =>
  environmentProxy(new URL(server), { HTTPS_PROXY: PROXY, NO_PROXY: noProxy });

describe('the proxy of the environment', () => {
  it('is that for the scheme of the server, in capital or small letters', () => {
    assert.equal(chosen('https://api.example:6443'), PROXY);
    assert.equal(environmentProxy(new URL('https://api.example'), { https_proxy: 'proxy:3128' }), PROXY);
    assert.equal(environmentProxy(new URL('http://api.example'), { HTTPS_PROXY: PROXY }), undefined);
    assert.equal(environmentProxy(new URL('http://api.example'), { HTTP_PROXY: PROXY }), PROXY);
    assert.equal(environmentProxy(new URL('https://api.example'), {}), undefined);
  });

  it('is never used for loopback', () => {
    for (const host of ['localhost', '127.0.0.1', '127.8.9.1', '[::1]'])
      assert.equal(chosen(`https://${host}:6443`), undefined, host);
  });

  it('is not used for what NO_PROXY names', () => {
    const direct: [string, string][] = [
      ['https://api.example', 'api.example'],
      ['https://api.example', 'x, API.Example ,y'],
      ['https://api.west.example', 'example'],
      ['https://api.west.example', '.example'],
      ['https://api.west.example', '*.example'],
      ['https://api.example:6443', 'api.example:6443'],
      ['https://api.example', 'api.example:443'],
      ['https://10.1.2.3:6443', '10.0.0.0/8'],
      ['https://10.1.2.3', '10.1.2.3'],
      ['https://[fd00::1]:6443', 'fd00::/8'],
      ['https://[fd00::1]:6443', 'fd00::1'],
      ['https://[fd00::1]:6443', '[fd00::1]:6443'],
      ['https://anything', '*'],
    ];
    for (const [server, noProxy] of direct)
      assert.equal(chosen(server, noProxy), undefined, `${server} ${noProxy}`);
  });

  it('is used for what NO_PROXY does not quite name', () => {
    const proxied: [string, string][] = [
      ['https://example', '.example'],
      ['https://badexample', 'example'],
      ['https://api.example:6443', 'api.example:443'],
      ['https://11.1.2.3', '10.0.0.0/8'],
      ['https://10.1.2.3', '10.0.0.0/99'],
      ['https://api.example', '10.0.0.0/8'],
      ['https://10.1.2.3', ' , ,'],
    ];
    for (const [server, noProxy] of proxied)
      assert.equal(chosen(server, noProxy), PROXY, `${server} ${noProxy}`);
  });

  it('must be one that speaks HTTP, and its password is not shown', () => {
    assert.equal(parseProxy('https://proxy:3129').port, '3129');
    assert.throws(
      () => parseProxy('socks5://me:hunter2@proxy:1080'),
      /proxy "socks5:\/\/proxy:1080": expected http:/,
    );
    assert.throws(() => parseProxy('nonsense'), /proxy "nonsense": expected/);
  });
});
