/* Makes the pages quicker; every one of them works without it. No library, no state of its own. */
(function () {
  'use strict';
  var d = document, root = d.documentElement;
  var $ = function (s, e) { return (e || d).querySelector(s); };
  var all = function (s, e) { return Array.prototype.slice.call((e || d).querySelectorAll(s)); };
  root.classList.add('scripted');

  /* -- list: tick all, tell of new mail, keys -- */
  var tick = $('#all');
  if (tick) tick.addEventListener('change', function () {
    all('.pick input').forEach(function (c) { c.checked = tick.checked; });
  });

  var poll = $('#poll');
  if (poll) {
    var look = function () {
      if (d.hidden) return;
      fetch('/poll?f=' + poll.dataset.f, { credentials: 'same-origin' }).then(function (r) {
        return r.ok ? r.json() : null;
      }).then(function (a) {
        if (!a || a.next <= +poll.dataset.next) return;
        if (!all('.pick input:checked').length && !$('#q').value && !/[?&]p=([2-9]|1\d)/.test(location.search) && scrollY < 80)
          return location.reload();
        if ($('#fresh')) return;
        var p = d.createElement('p'), l = d.createElement('a');
        p.id = 'fresh'; p.className = 'notice ok'; p.setAttribute('role', 'status');
        l.href = '/list?f=' + poll.dataset.f; l.textContent = d.body.dataset.new;
        p.appendChild(l); $('main').prepend(p);
      }).catch(function () { /* the next look may succeed */ });
    };
    setInterval(look, 30000);
    d.addEventListener('visibilitychange', look);
  }

  var rows = all('.row'), at = -1;
  var go = function (to) {
    if (!rows[to]) return;
    if (rows[at]) rows[at].classList.remove('here');
    at = to; rows[at].classList.add('here'); $('a', rows[at]).focus();
  };
  d.addEventListener('keydown', function (e) {
    if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName)) return;
    var follow = function (s) { var l = $(s); if (l) { e.preventDefault(); l.click(); } };
    switch (e.key) {
    case 'j': rows.length ? go(at + 1) : follow('[rel=next]'); break;
    case 'k': rows.length ? go(at - 1) : follow('[rel=prev]'); break;
    case 'x': if (rows[at]) { var c = $('.pick input', rows[at]); c.checked = !c.checked; } break;
    case 'c': follow('.side .main'); break;
    case 'r': follow('[data-key=reply]'); break;
    case 'a': follow('[data-key=all]'); break;
    case 'f': follow('[data-key=fwd]'); break;
    case '#': follow('[data-key=delete]'); break;
    case '/': var q = $('#q'); if (q) { e.preventDefault(); q.focus(); } break;
    }
  });

  /* -- compose: names while typing, autosave, progress -- */
  var form = $('#compose');
  if (!form) return;
  var state = $('#state'), names = $('#names'), timer, saved = '';
  var last = function (v) { return v.slice(v.lastIndexOf(',') + 1).trim(); };
  ['to', 'cc', 'bcc'].forEach(function (n) {
    var f = $('#' + n);
    f.setAttribute('list', 'names');
    f.addEventListener('input', function () {
      clearTimeout(timer);
      var q = last(f.value), before = f.value.slice(0, f.value.lastIndexOf(',') + 1);
      if (q.length < 2 || q.indexOf('@') > 0) return;
      timer = setTimeout(function () {
        fetch('/people.json?q=' + encodeURIComponent(q), { credentials: 'same-origin' }).then(function (r) { return r.ok ? r.json() : []; })
          .then(function (v) {
            names.textContent = '';
            v.forEach(function (p) {
              var o = d.createElement('option');
              o.value = (before ? before + ' ' : '') + (p.name ? '"' + p.name.replace(/["\\]/g, '') + '" <' + p.address + '>' : p.address);
              o.label = p.name + (p.unit ? ' · ' + p.unit : '');
              names.appendChild(o);
            });
          }).catch(function () { /* typing goes on without suggestions */ });
      }, 200);
    });
  });

  var text = function () { return ['to', 'cc', 'bcc', 'subject', 'body'].map(function (n) { return $('#' + n).value; }).join('\n'); };
  saved = text();
  var leaving = false, saving = null, waiting = null;
  setInterval(function () {
    if (leaving || saving || text() === saved || $('#files').files.length || $('[name=keep]')) return;
    var now = text(), b = new FormData(form);
    b.set('op', 'save'); b.set('js', '1'); b.delete('files');
    saving = fetch('/compose', { method: 'POST', body: b, credentials: 'same-origin' }).then(function (r) { return r.ok ? r.json() : null; })
      .then(function (a) {
        if (!a) return;
        form.elements.sf.value = decodeURIComponent(a.sf); form.elements.su.value = a.su;
        form.elements.sv.value = a.sv; form.elements.sd.value = 1;
        saved = now; state.textContent = d.body.dataset.saved;
      }).catch(function () { /* tried again at the next turn */ })
      .then(function () { saving = null; if (waiting) form.requestSubmit(waiting); });
  }, 20000);

  form.addEventListener('submit', function (e) {
    if (saving) { waiting = e.submitter; e.preventDefault(); return; } /* the form must know the newest draft */
    leaving = true;
    var by = e.submitter, files = $('#files').files;
    if (!by || !files.length || !window.XMLHttpRequest) return;
    e.preventDefault();
    var b = new FormData(form), x = new XMLHttpRequest(), bar = d.createElement('progress');
    if (by.name) b.set(by.name, by.value);
    bar.max = 100; state.textContent = d.body.dataset.sending + ' '; state.appendChild(bar);
    x.upload.onprogress = function (p) { if (p.lengthComputable) bar.value = 100 * p.loaded / p.total; };
    x.onload = function () {
      if (x.responseURL && x.status === 200 && x.responseURL !== location.origin + '/compose') { location.assign(x.responseURL); return; }
      d.open(); d.write(x.responseText); d.close();
    };
    x.onerror = function () { leaving = false; HTMLFormElement.prototype.submit.call(form); };
    x.open('POST', '/compose'); x.send(b);
  });
  addEventListener('beforeunload', function (e) { if (!leaving && text() !== saved) e.preventDefault(); });
})();
