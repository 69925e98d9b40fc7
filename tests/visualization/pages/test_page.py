import base64
import xml.etree.ElementTree as ElementTree

from beit_mm.visualization import render_page


def test_page__has_its_table_and_pictures_in_itself():
    table = [['figure', 'value'], ['accuracy < 1 & > 0', '0.50']]
    pictures = {'First': b'1', 'The "second"': b'2'}
    page = render_page('A & B', table, pictures)
    assert '<title>A &amp; B</title>' in page
    body = ElementTree.fromstring(page[page.index('<body>') : page.index('</html>')])
    assert body.find('h1').text == 'A & B'
    assert [[cell.text for cell in row] for row in body.iter('tr')] == table
    assert [heading.text for heading in body.iter('h2')] == list(pictures)
    sources = [image.get('src').split('base64,') for image in body.iter('img')]
    assert {kind for kind, _ in sources} == {'data:image/png;'}
    assert [base64.b64decode(data) for _, data in sources] == [b'1', b'2']
