from components.base import console


def test_messages_go_to_standard_error(capsys):
    console.say("working")
    console.warn("look here")
    assert capsys.readouterr() == ("", "working\nwarning: look here\n")
